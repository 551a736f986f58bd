"""See when a source falls silent, and when it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

_log = logging.getLogger(__name__)

# Sources that are watched. Where each day is a folder, sources never end: the one that was silent longest is forgotten.
MOST_SOURCES = 1000


@dataclass
class _Source:
    """Holds when the last item of a source came, in seconds since 1970, and the same by the monotonic clock."""

    at: float
    since: float
    is_silent: bool = False


class SourceWatch:
    """Holds when each source was heard last. Threads may share it.

    silent_after_s: seconds without an item after which a source is silent; None: never. expected: sources that earlier runs
    had, whose time begins now. on_change: is called with a source, its time (seconds since 1970) and whether it is silent; with
    None for a source that is forgotten.
    """

    def __init__(
        self,
        silent_after_s: float | None,
        expected: Iterable[str] = (),
        on_change: Callable[[str, float, bool | None], None] = lambda _source, _at, _silent: None,
    ) -> None:
        self._silent_after_s, self._on_change = silent_after_s, on_change
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()
        for source in expected:
            self.heard(source)

    def heard(self, source: str) -> None:
        """Note that an item of a source came now."""
        with self._lock:
            known = self._sources.pop(source, None)  # the one heard last is the last one
            if known and known.is_silent:
                _log.warning("source %r is back, after %.0f s", source, time.monotonic() - known.since)
            self._sources[source] = now = _Source(time.time(), time.monotonic())
            self._on_change(source, now.at, False)
            if len(self._sources) > MOST_SOURCES:
                forgotten = next(iter(self._sources))
                self._on_change(forgotten, self._sources.pop(forgotten).at, None)

    def check(self) -> None:
        """See which sources have fallen silent."""
        if self._silent_after_s is None:
            return
        now = time.monotonic()
        with self._lock:
            self._check(now, self._silent_after_s)

    def _check(self, now: float, silent_after_s: float) -> None:
        for name, source in self._sources.items():
            if now - source.since <= silent_after_s:
                return  # those that follow were heard later
            if not source.is_silent:
                source.is_silent = True
                at = datetime.fromtimestamp(source.at, UTC).isoformat(timespec="seconds")
                _log.warning("source %r is silent: nothing came from it since %s (--silent-after-s)", name, at)
                self._on_change(name, source.at, True)
