"""Open the files of a dataset, on the disk or in an object store, and write their paths as valid Unicode text."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from avizor_inference.error_text import lacks_open_files, reason, remedy
from avizor_inference.errors import MediaError, SettingsError
from avizor_inference.items.object_files import ObjectFile, is_object, object_state, open_object
from avizor_inference.items.object_listing import is_prefix, names_below
from avizor_inference.object_store import is_url, url_of

# A name that is not UTF-8 is written as this prefix and its bytes, percent-encoded.
_BYTES = "bytes:"
# Characters that percent-encoding leaves unchanged, besides letters and digits.
_KEPT = "/ !#$&'()*+,;=@[]{}^~:"

# Bytes that are read from a file at a time, or more where more are asked for: the whole of a short recording.
_BUFFER_BYTES = 1 << 16

_MOST_OF_A_LINE = 1 << 20

_FIRST_NS, _LAST_NS = -(2**63), 2**63 - 1

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; the caller closes it. Never waits for a pipe.

    Raises MediaError if the path is not a regular file or an object, or cannot be opened, StoreUnavailable, SettingsError if
    no file can be opened.
    """
    if is_url(path):
        return open_object(path)
    try:
        name = str(path)
        if other := _other_kind(name, os.stat(name).st_mode):  # noqa: PTH116 - once for each of millions of files
            raise MediaError(f"not a file but {other}")
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        file = open(descriptor, "rb", _BUFFER_BYTES)  # noqa: SIM115, PTH123 - the caller closes it
        if other := _other_kind(name, os.fstat(descriptor).st_mode):  # the path may have been replaced in between
            file.close()
            raise MediaError(f"not a file but {other}")
    except OSError as error:
        if lacks_open_files(error):
            raise SettingsError(f"a file cannot be opened ({reason(error)}); {remedy(error, '')}, and try again") from error
        raise MediaError(_not_opened(path, error)) from error
    return file


def state_in(status: os.stat_result) -> tuple[int, int]:
    """Return the size in bytes and the modification time in ns that the system tells of a file.

    A time that 64 bits do not hold, such as that of a clock beyond the year 2262, is the last one that they hold.
    """
    return status.st_size, max(_FIRST_NS, min(status.st_mtime_ns, _LAST_NS))


def state_of(file: BinaryIO) -> tuple[int, int] | None:
    """Return the size in bytes and the modification time in ns of an open file; None for bytes in memory."""
    if isinstance(file, ObjectFile):
        return file.state
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return state_in(status)


def state_at(path: Path | str) -> tuple[int, int]:
    """Return the same of a file that is not open; 0, 0 if it cannot be looked at: reading it says why.

    Raises StoreUnavailable.
    """
    try:
        if is_url(path):
            return object_state(Path(path))
        status = os.stat(path)  # noqa: PTH116 - it may be a text, once for each of millions of files
    except (OSError, MediaError):
        return 0, 0
    return state_in(status)


def exists(path: Path) -> bool:
    """Return whether there is a file, a folder, or objects below a URL. Raises StoreUnavailable, and DatasetError for http."""
    return is_object(path) or is_prefix(path) if is_url(path) else path.exists()


def is_folder(path: Path) -> bool:
    """Return whether it is a folder, or a URL below which there are objects. Raises StoreUnavailable, DatasetError for http."""
    return not is_object(path) and is_prefix(path) if is_url(path) else path.is_dir()


def folders_and_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files that are directly in a folder, or below a URL.

    Raises OSError, DatasetError if it cannot be listed, StoreUnavailable.
    """
    if is_url(folder):
        return names_below(folder)
    paths = list(folder.iterdir())
    return [path for path in paths if path.is_dir()], [path for path in paths if not path.is_dir()]


def other_kind(path: Path) -> str:
    """Return what is under a path, such as `a pipe`, if it is neither a file nor a folder nor an object; else ""."""
    if is_url(path) or path.is_dir():
        return ""
    try:
        return _other_kind(str(path), path.stat().st_mode)
    except OSError:
        return ""


def _other_kind(name: str, mode: int) -> str:
    """Return what is under a path, if it is not a regular file; an empty string for a file."""
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return _folder(name)
    return next((name for test, name in _KINDS if test(mode)), "")


def _folder(name: str) -> str:
    """Return what a folder is called: a search for files yields those that cannot be listed, and a file may have become one."""
    try:
        os.scandir(name).close()
    except OSError as error:
        return f"a folder that cannot be listed ({error.strerror})"
    return "a folder"


def _not_opened(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
        return f"a link that leads to no file ({error.strerror})"
    return f"cannot be opened ({error.strerror})"


def first_line_of(path: Path) -> bytes:
    """Return the first line of a file, for a message about it; empty if it cannot be read."""
    with suppress(MediaError, OSError), open_file(path) as file:
        return file.readline(_MOST_OF_A_LINE)
    return b""


def name_of(path: str) -> str:
    """Return a path, or a part of one, as valid Unicode: unchanged, or `bytes:` followed by its percent-encoded bytes.

    File names on disk are bytes. Python reads a name that is not UTF-8 (from an old memory card) as a text with lone
    surrogates, which Parquet, JSON and gRPC do not accept. `path_of` returns the original path. The URL of an object has both
    slashes again, of which a `Path` keeps one.
    """
    path = url_of(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return _BYTES + quote_from_bytes(os.fsencode(path), _KEPT)
    return _BYTES + quote_from_bytes(path.encode(), _KEPT) if path.startswith(_BYTES) else path


def text_of(name: str) -> str:
    """Return `str` of the path that `name_of` wrote as this text."""
    return str(path_of(name)) if name.startswith(_BYTES) or is_url(name) else name


def path_of(name: str) -> Path:
    """Return the path that `name_of` wrote as this text."""
    return Path(os.fsdecode(unquote_to_bytes(name.removeprefix(_BYTES)))) if name.startswith(_BYTES) else Path(name)
