"""Present a part of a file as a separate file, with a new header if the file's own would mislead the decoder."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Stream:
    """Describes one stream of sound for the decoder: `head`, and then the file's bytes from `start` to `end`."""

    start: int
    end: int
    head: bytes = b""
    min_frames: int = 0  # frames that have to be decoded from it at least; 0 if the container does not say


class StreamFile(io.RawIOBase):
    """Reads a stream from its file. A read error is kept in `error`, because the decoder treats it as the end of the file."""

    def __init__(self, file: BinaryIO, stream: Stream) -> None:
        self._file, self._stream = file, stream
        self._length = len(stream.head) + stream.end - stream.start
        self._position = 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See io.RawIOBase. Stays within the stream."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = min(max(0, base + offset), self._length)
        return self._position

    def tell(self) -> int:
        """See io.RawIOBase."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See io.RawIOBase."""
        data = self._next(min(len(buffer), self._length - self._position))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _next(self, size: int) -> bytes:
        head = self._stream.head
        if self._position < len(head):
            return head[self._position : self._position + size]
        try:
            self._file.seek(self._stream.start + self._position - len(head))
            return self._file.read(size)
        except OSError as error:
            self.error = error
            return b""


def read_at(file: BinaryIO, position: int, size: int) -> bytes:
    """Read `size` bytes from `position`, or fewer if the file ends before. Raises OSError."""
    file.seek(position)
    return file.read(size)
