"""Read files, and say in words what goes wrong."""

from __future__ import annotations

from pathlib import Path

from avizor_client.errors import InputError


def read_file(path: Path | str) -> bytes:
    """Return the bytes of a file. Raises InputError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); name another file") from error
