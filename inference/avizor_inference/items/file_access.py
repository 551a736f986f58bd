"""Open the files of a dataset only if they are regular files, and write their paths as valid Unicode text."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from avizor_inference.errors import MediaError

# A name that is not UTF-8 is written as this prefix and its bytes, percent-encoded.
_BYTES = "bytes:"
# Characters that percent-encoding leaves unchanged, besides letters and digits.
_KEPT = "/ !#$&'()*+,;=@[]{}^~:"

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; the caller closes it. Never waits for a pipe.

    Raises MediaError if the path is not a regular file, or cannot be opened.
    """
    try:
        if reason := _other_kind(path.stat().st_mode):
            raise MediaError(f"not a file but {reason}")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        file = open(descriptor, "rb")  # noqa: SIM115, PTH123 - the caller closes it
        if reason := _other_kind(os.fstat(descriptor).st_mode):  # the path may have been replaced in between
            file.close()
            raise MediaError(f"not a file but {reason}")
    except OSError as error:
        raise MediaError(_not_opened(path, error)) from error
    return file


def state_of(file: BinaryIO) -> tuple[int, int] | None:
    """Return the size in bytes and the modification time in ns of a file on disk; None for bytes in memory."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _other_kind(mode: int) -> str:
    """Return what it is, if it is not a regular file; an empty string for a file."""
    if stat.S_ISDIR(mode):
        return "a folder that cannot be listed; see its permissions"
    return next((name for test, name in _KINDS if test(mode)), "")


def _not_opened(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
        return f"a link that leads to no file ({error.strerror})"
    return f"cannot be opened ({error.strerror})"


def name_of(path: str) -> str:
    """Return a path, or a part of one, as valid Unicode: unchanged, or `bytes:` followed by its percent-encoded bytes.

    File names on disk are bytes. Python reads a name that is not UTF-8 (from an old memory card) as a text with lone
    surrogates, which Parquet, JSON and gRPC do not accept. `path_of` returns the original path.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return _BYTES + quote_from_bytes(os.fsencode(path), _KEPT)
    return _BYTES + quote_from_bytes(path.encode(), _KEPT) if path.startswith(_BYTES) else path


def path_of(name: str) -> Path:
    """Return the path that `name_of` wrote as this text."""
    return Path(os.fsdecode(unquote_to_bytes(name.removeprefix(_BYTES)))) if name.startswith(_BYTES) else Path(name)
