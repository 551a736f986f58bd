"""Files that are there whole or not at all, also after a power failure; and what is said where they cannot be written."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_inference.durable_files import sync_folder
from avizor_inference.error_text import reason
from avizor_inference.errors import JobError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.EIO: "look after the disk",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says where `path` cannot be written into a JobError that says what to do."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "put that right")
        raise JobError(
            f"{path} cannot be written ({reason(error)}); finished shards are kept: {remedy}, and run the same command again "
            "to go on"
        ) from error


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process uses. `is_temporary` knows it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether this is the name of a file that was never finished."""
    return path.suffix == ".tmp"


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are missing."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file in place of what is there."""
    temporary = temporary_name(path)
    temporary.write_text(text, encoding="utf-8")
    give_name(temporary, path)


def give_name(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and give it its name."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
