"""Write files and folders that nobody but their owner can read: what they hold may be of people."""

from __future__ import annotations

from pathlib import Path

from avizor_inference.durable_files import write_bytes

_FILE, _FOLDER = 0o600, 0o700


def write_private(path: Path, content: bytes, *, durable: bool) -> None:
    """Write a file in one step: see `write_bytes`. Raises OSError, and leaves nothing then."""
    write_bytes(path, content, mode=_FILE, durable=durable)


def make_private_folder(folder: Path) -> None:
    """Make a folder unless it is there. Raises OSError, also if the one above it is missing."""
    if not folder.is_dir():
        folder.mkdir(mode=_FOLDER, exist_ok=True)
