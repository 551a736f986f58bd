"""Let flagged items be kept, in a thread, so that no call waits for a disk. What there is no room or no disk for is dropped.

Dropped items are counted, and said once: the log must not grow with a disk that is full.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_service.keeping.flagged import Flagged
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings

if TYPE_CHECKING:
    from avizor_service.keeping.folder import KeptFolder

_log = logging.getLogger(__name__)

# What waits to be written, of the whole gateway; and items of one process.
MOST_WAITING_BYTES = 64 << 20
MOST_WAITING = 1024

# Seconds in which items are gathered, to be written together.
_GATHER_S = 0.5
_MOST_TOGETHER = 256

# Seconds between two looks at what is too old or too much, if nothing comes; and if something does, at least.
_LOOK_S = 10.0
_LEAST_LOOK_S = 5.0

# So many looks at least while as much is written as may be kept: the folder is larger by a part of it, for each worker.
_LOOKS = 32

# Bytes for which there has to be room on a disk before it is said to be well again, at most.
_MOST_PROVEN = 1 << 20

# Seconds after a word about a disk that refuses before the next one. A disk that is nearly full may refuse again and again.
_QUIET_S = 600.0

# Seconds that the last items have to be written in when the gateway ends.
_CLOSE_S = 5.0


class Keeper:
    """Keeps what it is offered. most_bytes: that may wait to be written."""

    def __init__(
        self, settings: Settings, metrics: Metrics, sources: BoundedSources, most_bytes: int = MOST_WAITING_BYTES
    ) -> None:
        self._settings, self._metrics, self._sources, self._most_bytes = settings, metrics, sources, most_bytes
        self._waiting: deque[Flagged] = deque()
        self._bytes = 0  # of those that wait, or are being written
        self._lock = threading.Lock()  # of that number
        self._wake, self._closing = threading.Event(), threading.Event()
        self._is_well = True
        self._is_said, self._quiet_until = False, 0.0  # that it is not; until when that is not said again
        self._dropped_since = 0  # the last word about it
        self._refused_bytes = 0  # by the disk, the last time
        self._room, self._written = settings.keep_flagged_max_mib << 20, 0  # since the last look
        for cause in ("full", "size", "disk", "item"):  # a rate misses the first event of a series that begins with it
            metrics.flagged_dropped.labels(cause)
        for cause in ("age", "bytes"):
            metrics.kept_removed.labels(cause)
        self._thread = threading.Thread(target=self._run, name="avizor-keep", daemon=True)
        self._thread.start()

    def takes(self, size: int) -> bool:
        """Tell whether an item of so many bytes can be kept at all. One that cannot is counted."""
        if is_too_large := size > min(self._most_bytes, self._settings.keep_flagged_max_mib << 19):
            self._metrics.flagged_dropped.labels("size").inc()
        return not is_too_large

    def offer(self, flagged: Flagged) -> None:
        """Let an item be kept. Never waits, and never fails."""
        if not self.takes(flagged.size):
            return
        with self._lock:
            is_full = self._bytes + flagged.size > self._most_bytes or len(self._waiting) >= MOST_WAITING
            self._bytes += 0 if is_full else flagged.size
        if is_full:
            self._metrics.flagged_dropped.labels("full").inc()
            return
        self._waiting.append(flagged)
        self._wake.set()

    def close(self) -> None:
        """Write what waits. Return when that is done, or after some seconds if the disk is slow."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE_S)

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        folder: KeptFolder | None = None
        looked = 0.0
        while True:
            with self._caring():
                folder = folder or self._opened()
                ended = self._closing.is_set()
                while self._waiting:
                    self._keep(folder)
                    if self._written >= self._room // _LOOKS:
                        self._look(folder)
                now = time.monotonic()
                if now - looked > (_LEAST_LOOK_S if self._written else _LOOK_S) or (ended and self._written):
                    looked = now
                    self._look(folder)
                self._well()
            if not self._is_well and folder:
                folder.close()  # it may be another one by now
                folder = None
            if not self._is_well:
                self._drop_all()
            if self._closing.is_set() and not self._waiting:
                return
            self._wake.wait(_LEAST_LOOK_S if self._written else _LOOK_S)
            self._wake.clear()
            self._closing.wait(_GATHER_S)

    def _opened(self) -> KeptFolder:
        from avizor_service.keeping.folder import KeptFolder  # loads pyarrow, which takes a while

        folder = KeptFolder(self._settings, self._sources)
        try:
            folder.sweep()
            if not self._is_well:
                self._look(folder)  # a full disk has room again when the oldest has gone
                # Or each item would be followed by another word about it.
                folder.prove_room(min(self._refused_bytes, _MOST_PROVEN))
        except BaseException:
            folder.close()
            raise
        return folder

    def _keep(self, folder: KeptFolder) -> None:
        together: list[Flagged] = []
        size = 0
        while self._waiting and len(together) < _MOST_TOGETHER and size < self._room // _LOOKS:
            together.append(self._waiting.popleft())
            size += together[-1].size
        try:
            sizes = list(folder.keep(together))
        except BaseException:
            self._refused_bytes = sum(item.size for item in together)
            self._drop(together, "disk")
            raise
        self._written += sum(sizes)
        for item, written in zip(together, sizes, strict=True):
            if written:
                self._metrics.flagged_kept.labels(item.model.name).inc()
            else:
                self._metrics.flagged_dropped.labels("item").inc()
        self._forget(together)

    def _look(self, folder: KeptFolder) -> None:
        self._written = 0
        size, removed = folder.retain()
        self._metrics.kept_bytes.set(size)
        for cause, count in removed.items():
            self._metrics.kept_removed.labels(cause).inc(count)

    @contextmanager
    def _caring(self) -> Iterator[None]:
        """Say once that something is wrong, whatever it is: this thread has to live as long as the gateway."""
        try:
            yield
        except Exception as error:
            if not self._is_said and time.monotonic() >= self._quiet_until:
                self._is_said, self._quiet_until = True, time.monotonic() + _QUIET_S
                why = reason(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                _log.warning(
                    "flagged items are not kept: %s cannot be used (%s); calls go on, and it is tried again",
                    self._place(error),
                    why,
                )
            self._is_well = False
            self._metrics.keep_ok.set(0)

    def _place(self, error: Exception) -> object:
        """Return what cannot be used: a file or folder that is in the way, or all of the folder."""
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError | PermissionError) and error.filename:
            return error.filename
        return self._settings.keep_flagged

    def _well(self) -> None:
        if self._is_said:
            _log.warning("flagged items are kept again in %s; %d were not", self._settings.keep_flagged, self._dropped_since)
            self._is_said, self._dropped_since = False, 0
        self._is_well = True
        self._metrics.keep_ok.set(1)

    def _drop_all(self) -> None:
        dropped: list[Flagged] = []
        while self._waiting:
            dropped.append(self._waiting.popleft())
        self._drop(dropped, "disk")

    def _drop(self, items: Sequence[Flagged], cause: str) -> None:
        self._metrics.flagged_dropped.labels(cause).inc(len(items))
        self._dropped_since += len(items)
        self._forget(items)

    def _forget(self, items: Sequence[Flagged]) -> None:
        with self._lock:
            self._bytes -= sum(item.size for item in items)


@contextmanager
def open_keeper(
    settings: Settings, metrics: Metrics, sources: BoundedSources, most_bytes: int = MOST_WAITING_BYTES
) -> Iterator[Keeper | None]:
    """Give what keeps flagged items, if they are to be kept. Raises SettingsError if the folder is of something else."""
    metrics.keep_ok.set(1)
    if settings.keep_flagged is None:
        yield None
        return
    if settings.review_url:
        metrics.review_info.labels(settings.review_url).set(1)
    if find_spec("pyarrow") is None:
        raise SettingsError("--keep-flagged writes Parquet tables: pip install 'avizor[keep]'")
    from avizor_service.keeping.folder import check_is_ours

    check_is_ours(settings.keep_flagged)
    with Keeper(settings, metrics, sources, most_bytes) as keeper:
        yield keeper
