"""Read files, and say in words what goes wrong."""

from __future__ import annotations

import os
from pathlib import Path

from avizor_client.errors import InputError

# Bytes of the largest file that is read. No gateway takes a message of more.
MOST_BYTES = 1 << 30


def read_file(path: Path | str) -> bytes:
    """Return the bytes of a file, or of a pipe until its end. Raises InputError."""
    try:
        with Path(path).open("rb") as file:
            is_small = os.fstat(file.fileno()).st_size <= MOST_BYTES  # a pipe has none
            data = file.read(MOST_BYTES + 1) if is_small else b""
    except (OSError, ValueError) as error:  # no path has a null character
        why = getattr(error, "strerror", "") or error
        raise InputError(f"{path}: cannot be read ({why}); name another file") from error
    if not is_small or len(data) > MOST_BYTES:
        raise InputError(f"{path}: has more than {MOST_BYTES >> 20} MiB; name a smaller file, or use a batch job")
    return data
