"""A part of a file as a file of its own, with a header of ours before it where the file's own misleads the decoder."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Stream:
    """One stream of sound for the decoder: `head`, and then the file's bytes from `start` to `end`."""

    start: int
    end: int
    head: bytes = b""
    least_frames: int = 0  # that have to come out of it; 0 where the container does not tell


class StreamFile(io.RawIOBase):
    """A stream, read from its file. An error of reading is kept in `error`: the decoder takes it for the file's end."""

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
    """So many bytes from `position`, or fewer where the file ends. Raises OSError."""
    file.seek(position)
    return file.read(size)
