"""Write lines in a thread, so that nobody waits for whoever reads the log. What is not read in time is dropped, and counted."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

# Lines that wait to be written: some seconds of a busy gateway.
MOST_LINES = 16_384

# So many bytes are written at once: a pipe takes them whole, and other processes' lines never come between.
_CHUNK_BYTES = select.PIPE_BUF

# Seconds in which lines are gathered. A line that comes after a pause is written at once.
_GATHER_S = 0.05

# Seconds that the last lines have to be read in when the gateway ends.
_CLOSE_S = 2.0


class LogWriter:
    """Writes lines to an open file, in their order, from a thread of its own.

    dropped: called with a number of lines that were not written, from any thread. notice: returns the line that says so.
    """

    def __init__(self, file: int, dropped: Callable[[int], None], notice: Callable[[int], str], most: int = MOST_LINES) -> None:
        self._file, self._dropped, self._notice, self._most = file, dropped, notice, most
        self._lines: deque[str] = deque()
        self._not_told = 0  # lines that were dropped since the last notice
        self._lock = threading.Lock()  # of that number
        self._is_idle = False
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="avizor-log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Let a line be written; it has no newline. Never waits."""
        if len(self._lines) >= self._most:
            self._drop(1)
            return
        self._lines.append(line)
        if self._is_idle:  # else the thread looks again by itself: to wake it takes longer than all else here
            self._is_idle = False
            self._wake.set()

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Write what waits. Return when that is done, or after `timeout_s` if nobody reads."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _drop(self, lines: int) -> None:
        with self._lock:
            self._not_told += lines
        self._dropped(lines)

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()
            while self._lines:
                self._write_some()
            self._tell()
            if closing:
                return
            self._closing.wait(_GATHER_S)
            self._is_idle = True
            if not self._lines and not self._closing.is_set():
                self._wake.wait()
            self._wake.clear()
            self._is_idle = False

    def _tell(self) -> None:
        """Say how many lines were dropped, as soon as there is room again."""
        with self._lock:
            count, self._not_told = self._not_told, 0
        if count and not self._write(_encoded(self._notice(count))):
            with self._lock:
                self._not_told += count

    def _write_some(self) -> None:
        """Write as many lines as fit into one chunk; a longer line alone."""
        chunk = _encoded(self._lines.popleft())
        count = 1
        while self._lines and len(chunk) + len(line := _encoded(self._lines[0])) <= _CHUNK_BYTES:
            self._lines.popleft()
            chunk += line
            count += 1
        if not self._write(chunk):
            self._drop(count)

    def _write(self, chunk: bytes) -> bool:
        """Return whether a chunk could be written. It waits for a reader that is slow."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._file, rest) :]
            except BlockingIOError:  # whoever shares the file has made it so
                select.select([], [self._file], [])
            except OSError:  # nobody reads any more, or the disk is full
                return False
        return True


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")
