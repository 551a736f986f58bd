"""Look at an object in a store, and read it: whole if it is small, else as a file that is fetched in parts.

An object is read as one version: if it is replaced in between, what is left cannot be read.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from avizor_inference.daemon_threads import DaemonThreads, interruptible
from avizor_inference.error_text import one_line
from avizor_inference.errors import MediaError, StoreUnavailable
from avizor_inference.object_store import StoreState, in_words, place_of_url, rests_to_retry, state_of_object, was_cut_off

T = TypeVar("T")

# Objects up to this size are read by one request. It bounds what a worker holds, because some are read ahead.
WHOLE_BYTES = 8 * 2**20

# Of a larger one so much is fetched at once. It doubles while the file is read on, and then the next part is fetched ahead.
_FIRST_BYTES, _MOST_BYTES = 256 * 2**10, 4 * 2**20

# Requests of a process at once. A store answers one in 10 to 100 ms, and any number side by side.
AT_ONCE = 16

_CHANGED = "the object was changed since it was listed, or while it was read; run again when it is finished"


def object_state(path: Path, *, patient: bool = True) -> StoreState:
    """Ask for size and time of change of an object. patient: whether a store that is away is waited for.

    Raises MediaError if it is not there, StoreUnavailable.
    """
    return asked(path, lambda store, key: state_of_object(store.head(key)), patient=patient)


def is_object(path: Path) -> bool:
    """Return whether there is an object of this name. A store that is away is told of soon. Raises StoreUnavailable.

    For http the name has a suffix: servers answer for a folder, too.
    """
    if not path.parts[2:] or (is_http(path) and not path.suffix):
        return False
    try:
        object_state(path, patient=False)
    except MediaError:
        return False
    return True


def is_http(path: Path) -> bool:
    """Return whether it is the URL of a server of files, which has no listing."""
    return path.parts[0].startswith("http")


def read_object(path: Path, expected: StoreState | None = None) -> bytes:
    """Read a whole object by one request. Raises MediaError, also if it is not as expected, and StoreUnavailable."""

    def read(store: Any, key: str) -> bytes:
        answer = store.get(key)
        if expected and state_of_object(answer.meta) != expected:
            raise MediaError(_CHANGED)
        return bytes(answer.bytes())

    return asked(path, read)


class ObjectFile(io.BufferedReader):
    """Reads an object like a file.

    Errors are OSErrors, as of a disk. What a store says that is away is kept for `check_store`.
    """

    def __init__(self, path: Path) -> None:
        """Fetch the beginning. Raises MediaError, StoreUnavailable."""
        self._parts = _Parts(path)
        super().__init__(self._parts, 64 * 2**10)

    @property
    def state(self) -> StoreState:
        """Return the state of the version that is read."""
        return self._parts.state


def open_object(path: Path) -> BinaryIO:
    """Open an object; the caller closes it. Raises MediaError, StoreUnavailable."""
    return cast(BinaryIO, ObjectFile(path))


def check_store() -> None:
    """Raise StoreUnavailable if a read of an ObjectFile has failed for this reason. Decoders tell only of a file that ends."""
    if _away:
        raise _away.pop()


_away: list[StoreUnavailable] = []


class RangeFile(io.RawIOBase):
    """Is the position in a file that is fetched in parts. Those who fetch define `readinto`. size: in bytes."""

    def __init__(self, size: int) -> None:
        self.size, self._position = size, 0

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def tell(self) -> int:
        """See io.RawIOBase."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See io.RawIOBase."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position


class _Parts(RangeFile):
    """Fetches parts of one version of an object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start, self._next_bytes = 0, _FIRST_BYTES
        self._ahead: tuple[int, Future[tuple[bytes, StoreState]]] | None = None
        self._part, self.state = _first_part(path, _FIRST_BYTES)
        super().__init__(self.state.size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position >= self.size:
            return 0
        if not self._start <= self._position < self._start + len(self._part):
            self._fetch()
        first = self._position - self._start
        data = memoryview(self._part)[first : first + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self) -> None:
        """Fetch the part at the position, and the one behind it ahead if the file is read on."""
        reads_on = self._position == self._start + len(self._part)
        self._next_bytes = min(2 * self._next_bytes, _MOST_BYTES) if reads_on else _FIRST_BYTES
        try:
            if self._ahead and self._ahead[0] == self._position:
                part, state = self._ahead[1].result()
            else:
                part, state = _part_of(self._path, self._position, self._next_bytes)
        except StoreUnavailable as error:
            _away.append(error)
            raise OSError(0, one_line(error)) from error
        except MediaError as error:
            raise OSError(0, str(error)) from error
        if state != self.state or not part:
            raise OSError(0, _CHANGED)
        self._part, self._start, self._ahead = part, self._position, None
        end = self._start + len(part)
        if reads_on and end < self.size:
            self._ahead = (
                end,
                store_threads().submit(partial(_part_of, self._path, end, min(2 * self._next_bytes, _MOST_BYTES))),
            )


def _part_of(path: Path, start: int, size: int) -> tuple[bytes, StoreState]:
    def read(store: Any, key: str) -> tuple[bytes, StoreState]:
        answer = store.get(key, options={"range": (start, start + size)})
        return bytes(answer.bytes()), state_of_object(answer.meta)

    return asked(path, read)


def _first_part(path: Path, size: int) -> tuple[bytes, StoreState]:
    """Fetch the beginning, or all of an object that has no parts: an empty one, or one of a server that gives no parts."""
    from obstore.exceptions import BaseError, NotSupportedError

    def read(store: Any, key: str) -> tuple[bytes, StoreState]:
        try:
            answer = store.get(key, options={"range": (0, size)})
        except BaseError as error:
            if not (isinstance(error, NotSupportedError) or "416 Range Not Satisfiable" in str(error)):
                raise
            answer = store.get(key)
            if answer.meta["size"] > WHOLE_BYTES:
                raise MediaError(
                    f"the server gives no parts of files (ranges), so only files up to {WHOLE_BYTES // 2**20} MiB can be read"
                ) from error
        return bytes(answer.bytes()), state_of_object(answer.meta)

    return asked(path, read)


def asked(path: Path, ask: Callable[[Any, str], T], *, patient: bool = True) -> T:
    """Return what a store answers. Raises MediaError for what concerns this object alone, else StoreUnavailable."""
    store, key = place_of_url(path, patient=patient)
    rests = rests_to_retry()
    while True:
        try:
            with in_words(path):
                return interruptible(partial(ask, store, key))
        except StoreUnavailable as error:
            if was_cut_off(error) and next(rests, False):
                continue
            if patient and store_answers(path):
                raise MediaError(f"the store does not give it ({error})") from error
            raise


def store_answers(path: Path) -> bool:
    """Return whether the store answers other requests: then what was asked before is alone in its trouble."""
    store, _ = place_of_url(path, patient=False)
    try:
        with in_words(path):
            _ = store.head("") if is_http(path) else next(iter(store.list(chunk_size=1)), None)
    except MediaError:  # there is a store, which refuses it
        return True
    except StoreUnavailable:
        return False
    return True


@lru_cache(maxsize=1)
def store_threads() -> DaemonThreads:
    """Return the threads in which a process waits for stores."""
    return DaemonThreads(AT_ONCE)


def begin_threads() -> None:
    """Start the threads that fetch objects, those of obstore, too. Each reserves memory, which a limit would count later."""
    from obstore.store import MemoryStore

    list(MemoryStore().list())
    all_begun = threading.Barrier(AT_ONCE)
    for begun in [store_threads().submit(all_begun.wait) for _ in range(AT_ONCE)]:
        begun.result()


class ReadAhead:
    """Reads small objects while others are decoded, the next ones of those that are expected. most_bytes: of what waits."""

    def __init__(self, most_bytes: int = 2 * WHOLE_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._to_come: deque[tuple[Path, StoreState]] = deque()
        self._begun: deque[tuple[Path, StoreState, Future[bytes]]] = deque()

    def expect(self, objects: Iterable[tuple[Path, StoreState]]) -> None:
        """Forget what was expected before, and begin to read these, in the order in which they will be taken."""
        for _, _, answer in self._begun:
            answer.cancel()
        self._begun.clear()
        self._to_come, self._bytes = deque(objects), 0
        self._begin()

    def wait(self, path: Path) -> None:
        """Wait until an object was read, if it is expected. Those before it are not needed any more."""
        if self._begun and self._begun[0][0] != path and any(path == begun for begun, _, _ in self._begun):
            while self._begun[0][0] != path:
                self._bytes -= self._begun.popleft()[1].size
        self._begin()
        if self._begun and self._begun[0][0] == path:
            self._begun[0][2].exception()

    def take(self, path: Path, state: StoreState) -> bytes:
        """Return the bytes of an object. Raises MediaError, StoreUnavailable."""
        self.wait(path)
        if not (self._begun and self._begun[0][0] == path):
            return read_object(path, state)
        _, _, answer = self._begun.popleft()
        self._bytes -= state.size
        self._begin()
        return answer.result()

    def _begin(self) -> None:
        while self._to_come and (not self._begun or self._bytes + self._to_come[0][1].size <= self._most_bytes):
            path, state = self._to_come.popleft()
            self._bytes += state.size
            self._begun.append((path, state, store_threads().submit(partial(read_object, path, state))))
