"""Write files so that they are either complete or absent, even after a power failure."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_TEMPORARY = ".tmp"


def write_text(path: Path, text: str, temporary: Path | None = None) -> None:
    """Write a small file in one step: readers see either the old content or the new content. Raises OSError.

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
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | exclusive, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of the descriptor
            file.write(content)
        if durable:
            flush_and_rename(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)  # the disk may be full, and what was written is of no use
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write says what went wrong, and not where
        raise


def flush_and_rename(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it to `path`, replacing a file there. Raises OSError."""
    flush(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


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
