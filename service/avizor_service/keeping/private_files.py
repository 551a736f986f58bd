"""Write files and folders that nobody but their owner can read: what they hold may be of people."""

from __future__ import annotations

import os
from pathlib import Path

from avizor_inference.durable_files import flush_and_rename, temporary_name

_FILE, _FOLDER = 0o600, 0o700


def write_private(path: Path, content: bytes, *, durable: bool) -> None:
    """Write a file in one step: readers see the old one or the new one. Raises OSError, and leaves nothing then.

    durable: whether it is whole after a power failure, too, which takes time.
    """
    temporary = temporary_name(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of the descriptor
            file.write(content)
        if durable:
            flush_and_rename(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_private_folder(folder: Path) -> None:
    """Make a folder unless it is there. Raises OSError, also if the one above it is missing."""
    if not folder.is_dir():
        folder.mkdir(mode=_FOLDER, exist_ok=True)
