"""Write files so that they are either complete or absent, even after a power failure."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

_TEMPORARY = ".tmp"


def write_text(path: Path, text: str, temporary: Path | None = None) -> None:
    """Write a small file in one step: readers see either the old content or the new content.

    Raises OSError, also if a device or a pipe is there, or a link to one, such as /dev/stdout: the file would take its place.

    temporary: the path to write to first, on the same file system; a fixed name allows one writer at a time. By default it is
    a name that no other process uses.
    """
    write_bytes(path, text.encode(), temporary)


def write_bytes(path: Path, content: bytes, temporary: Path | None = None, *, mode: int = 0o666, durable: bool = True) -> None:
    """Write a file in one step. See `write_text`.

    mode: its permissions, less those that the process takes from all (umask). durable: whether it is whole after a power
    failure, too, which takes time.
    """
    exclusive = 0 if temporary else os.O_EXCL
    temporary = temporary or temporary_name(path)
    try:
        _refuse_no_file(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | exclusive, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of the descriptor
            file.write(content)
        if durable:
            _flush_and_rename(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)  # the disk may be full, and what was written is of no use
        if isinstance(error, OSError) and str(error.filename) in ("None", str(temporary)):
            error.filename = str(path)  # a write says what went wrong, and not where; the other name is gone
        raise


def flush_and_rename(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it to `path`, replacing a file there. Raises OSError as `write_text` does."""
    _refuse_no_file(path)
    _flush_and_rename(temporary, path)


def _flush_and_rename(temporary: Path, path: Path) -> None:
    flush(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def _refuse_no_file(path: Path) -> None:
    """Raise OSError for what a rename must not replace. /dev/stdout is a link into /proc, also where it leads to a file."""
    try:
        leads_to = path.stat().st_mode
    except FileNotFoundError:
        return
    into_proc = path.is_symlink() and str(path.readlink()).startswith("/proc/")
    if into_proc or not (stat.S_ISREG(leads_to) or stat.S_ISDIR(leads_to)):  # the system refuses folders itself
        raise OSError(0, "it is a pipe or a device, and no file", str(path))


def flush(path: Path) -> None:
    """Flush a finished file to disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def temporary_name(path: Path) -> Path:
    """Return a name in the folder of `path` that no other process uses and `is_temporary` recognises."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")


def is_temporary(path: Path) -> bool:
    """Return whether this is the name of a file that was never finished."""
    return path.suffix == _TEMPORARY


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, so that they survive a power failure. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that files created, renamed or deleted in it stay so. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
