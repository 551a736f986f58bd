"""Files of a dataset: opened only if they are files, named in text that can be turned back into a path."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from avizor_inference.errors import MediaError

# A name that is not UTF-8 is written as these and its bytes, percent-encoded.
_BYTES = "bytes:"
# What a percent-encoded path keeps as it is, besides letters and digits.
_KEPT = "/ !#$&'()*+,;=@[]{}^~:"

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """Open a file to be read. Raises MediaError for what is none, or cannot be opened; never waits for a pipe."""
    try:
        if reason := _no_file(path.stat().st_mode):
            raise MediaError(f"not a file but {reason}")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        file = open(descriptor, "rb")  # noqa: SIM115, PTH123 - the caller closes it
        if reason := _no_file(os.fstat(descriptor).st_mode):  # it may have been put there in between
            file.close()
            raise MediaError(f"not a file but {reason}")
    except OSError as error:
        raise MediaError(_not_opened(path, error)) from error
    return file


def _no_file(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder that cannot be listed; see its permissions"
    return next((name for test, name in _KINDS if test(mode)), "")


def _not_opened(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
        return f"a link that leads to no file ({error.strerror})"
    return f"cannot be opened ({error.strerror})"


def name_of(path: str) -> str:
    """A path, or a part of one, as text that is valid Unicode: itself, or `bytes:` and its bytes percent-encoded.

    Names on disks are bytes. One that is not UTF-8 (from an old memory card) comes into Python with lone surrogates, which no
    Parquet, JSON or gRPC takes. `path_of` turns it back.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return _BYTES + quote_from_bytes(os.fsencode(path), _KEPT)
    return _BYTES + quote_from_bytes(path.encode(), _KEPT) if path.startswith(_BYTES) else path


def path_of(name: str) -> Path:
    """The path that `name_of` wrote."""
    return Path(os.fsdecode(unquote_to_bytes(name.removeprefix(_BYTES)))) if name.startswith(_BYTES) else Path(name)
