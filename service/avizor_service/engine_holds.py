"""Let the engine free a version when the last call that uses it has ended, and not before."""

from __future__ import annotations

import threading
import weakref
from queue import SimpleQueue

from avizor_inference.engines.base import Engine

_Key = tuple[str, int]


class EngineHold:
    """Stands for what the engine has loaded for one version: who keeps it keeps that."""

    __slots__ = ("__weakref__",)


class EngineHolds:
    """Hands out holds, the same one for a version as long as anybody has it. Close it at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: weakref.WeakValueDictionary[_Key, EngineHold] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        # An object may end anywhere, also in the event loop, or while a lock is held. Only this queue is touched there.
        self._dropped: SimpleQueue[_Key | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._unload_each, name="avizor-unload", daemon=True)
        self._thread.start()

    def of(self, name: str, version: int) -> EngineHold:
        """Return the hold of a version that is about to be opened."""
        with self._lock:
            hold = self._held.get((name, version))
            if hold is None:
                hold = self._held[name, version] = EngineHold()
                weakref.finalize(hold, self._dropped.put, (name, version)).atexit = False
            return hold

    def close(self) -> None:
        """End the thread. What is held stays with the engine, which is closed next."""
        self._dropped.put(None)
        self._thread.join()

    def _unload_each(self) -> None:
        while key := self._dropped.get():
            with self._lock:  # nobody opens it again meanwhile
                if key not in self._held:
                    self._engine.unload(*key)
