"""Files that are there whole or not at all, also after a power failure; and what is said where they cannot be written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
