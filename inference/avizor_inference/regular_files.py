"""Read files of settings, which are small: never wait for a pipe, and never read a device that has no end."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

# Bytes of the largest file that is read whole. Manifests and calibrations of many thousand recordings have some MiB.
_MOST_BYTES = 256 << 20
_AT_ONCE = 1 << 20


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; the caller closes it. Raises OSError for what is no file: a pipe, a device."""
    descriptor = regular_descriptor(path, os.O_RDONLY)
    try:
        return open(descriptor, "rb")  # noqa: PTH123 - of the descriptor
    except BaseException:
        os.close(descriptor)
        raise


def regular_descriptor(path: Path, flags: int) -> int:
    """Open a file, as os.open does, and return its descriptor. Raises OSError for what is no file: a pipe, a device."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # whoever reads or writes it hears that it is a folder
        return descriptor
    os.close(descriptor)
    raise OSError(0, "it is a pipe or a device, and no file", str(path))


def read_regular(path: Path, most_bytes: int = _MOST_BYTES) -> bytes:
    """Return the bytes of a file. Raises OSError, also for what is no file, and for a file that has more bytes."""
    with open_regular(path) as file:
        data = b"".join(_parts(file, most_bytes + 1))
    if len(data) > most_bytes:
        raise OSError(f"it has more than {most_bytes >> 20} MiB")
    return data


def _parts(file: BufferedReader, most_bytes: int) -> Iterator[bytes]:
    """Yield what a file holds, at most so many bytes. To read them at once would take the memory of as many, however few come.

    A worker under a ceiling of memory does not have that.
    """
    while part := file.read(min(most_bytes, _AT_ONCE)):
        most_bytes -= len(part)
        yield part
