"""Raise the error of a job that cannot write or read a file: it says what is wrong, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from avizor_inference.error_text import reason
from avizor_inference.errors import JobError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.EIO: "check the disk",
}


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Turn an OSError inside into a JobError that says why `path` cannot be written and what to do."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "correct that")
        raise JobError(
            f"{path} cannot be written ({reason(error)}); finished shards are kept: {remedy}, and run the same command again "
            "to go on"
        ) from error


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Turn an OSError inside into a JobError that says why `path` cannot be read and what to do."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: object, error: OSError) -> JobError:
    """Return the error of a file of the job that cannot be read now, though it may be intact."""
    return JobError(
        f"{path} cannot be read ({reason(error)}); finished shards are kept: correct that, and run the same command again "
        "to go on"
    )
