"""Call functions at their deadlines, from one thread for all of them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable

_log = logging.getLogger(__name__)


class Watchdog:
    """Calls each function that it was given at its time, unless that was forgotten before. Safe to use from several threads.

    Its thread begins with the first deadline. It wakes up when the earliest one passes and not for each call: a call adds an
    entry to a dictionary and takes it out again, and usually ends before its deadline.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._entries: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._changed = threading.Condition()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, key: Hashable, at: float, expire: Callable[[], None]) -> None:
        """Call `expire()` at `at` (time.monotonic()), at once if that has passed. A key has one deadline, the latest given.

        Does nothing after close().
        """
        with self._changed:
            if self._closed:
                return
            self._entries[key] = (at, expire)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name=self._name, daemon=True)
                self._thread.start()
            elif at < self._wakes_at:
                self._changed.notify()

    def forget(self, key: Hashable) -> None:
        """Forget the deadline of a key, if it has one. Its function may be running at this moment."""
        self._entries.pop(key, None)

    def close(self) -> None:
        """End the thread. Deadlines that have not passed yet are forgotten."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            self._changed.notify()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed:
            for expire in self._wait():
                try:
                    expire()
                except Exception:  # or no deadline would be kept any more
                    _log.exception("what is done at a deadline failed")
                del expire  # or this thread would keep what it is about until the next deadline

    def _wait(self) -> list[Callable[[], None]]:
        """Wait until a deadline passes, and return the functions of all that have passed by then; none if others came."""
        with self._changed:
            # A copy, because forget() takes entries out without the lock.
            self._wakes_at = min((at for at, _ in self._entries.copy().values()), default=math.inf)
            left = self._wakes_at - time.monotonic()
            if not self._closed and left > 0:
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            now = time.monotonic()
            passed = [key for key, (at, _) in self._entries.copy().items() if at <= now]
            entries = (self._entries.pop(key, None) for key in passed)
            return [entry[1] for entry in entries if entry is not None]
