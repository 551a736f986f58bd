"""Read files, and say in words what goes wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from avizor_client.errors import InputError

# Bytes of the largest file that is read. No gateway takes a message of more.
MOST_BYTES = 1 << 30
_AT_ONCE = 1 << 20

# What to do where the process, or the system, has as many files open as it may. avizor_inference has the same.
_LACKS = {errno.EMFILE: "raise `ulimit -n`", errno.ENFILE: "end other programs, or raise fs.file-max with sysctl"}


def read_file(path: Path | str) -> bytes:
    """Return the bytes of a file, or of a pipe until its end. Raises InputError."""
    try:
        with Path(path).open("rb") as file:
            is_small = os.fstat(file.fileno()).st_size <= MOST_BYTES  # a pipe has none
            data = read_up_to(file, MOST_BYTES + 1) if is_small else b""
    except (OSError, ValueError) as error:  # no path has a null character
        raise unreadable(path, error) from error
    if not is_small or len(data) > MOST_BYTES:
        raise InputError(f"{path}: has more than {MOST_BYTES >> 20} MiB; name a smaller file, or use a batch job")
    return data


def read_up_to(file: BinaryIO, most_bytes: int) -> bytes:
    """Return what a file holds, at most so many bytes. To read them at once would take the memory of as many."""
    parts = list[bytes]()
    while part := file.read(min(most_bytes, _AT_ONCE)):
        most_bytes -= len(part)
        parts.append(part)
    return b"".join(parts)


def unreadable(path: Path | str, error: OSError | ValueError) -> InputError:
    """Return the error of a file that cannot be read: with the cause, and what to do."""
    number = getattr(error, "errno", 0)
    why = getattr(error, "strerror", "") or error
    if number == errno.EMFILE:
        import resource  # not on every system

        why = f"{why}: this process may have {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
    return InputError(f"{path}: cannot be read ({why}); {_LACKS.get(number, 'name another file')}")


def lacks_open_files(error: OSError) -> bool:
    """Return whether the process, or the system, has as many files open as it may: whichever is opened next fails."""
    return error.errno in _LACKS
