"""Files that are there whole or not at all, also after a power failure."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_TEMPORARY = ".tmp"


def write_text(path: Path, text: str, temporary: Path | None = None) -> None:
    """Write a small file whole: readers see it as it was or as it is now. Raises OSError.

    temporary: where it is written first, on the same file system; a fixed name is for one writer at a time. Without one it is
    a name that no other process uses.
    """
    temporary = temporary or temporary_name(path)
    temporary.write_text(text, encoding="utf-8")
    give_name(temporary, path)


def give_name(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and give it its name, in place of what is there. Raises OSError."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process uses. `is_temporary` knows it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")


def is_temporary(path: Path) -> bool:
    """Whether this is the name of a file that was never finished."""
    return path.suffix == _TEMPORARY


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are missing, so that they survive a power failure. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk: the names that were given or taken in it. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
