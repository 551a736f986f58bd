"""Raise the error of a job that cannot write or read a file: it says what is wrong, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_inference.durable_files import is_temporary
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import JobError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EEXIST: "move away what is there",
    errno.ENOENT: "put back what was removed, replaced or unmounted while the job ran",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.EIO: "check the disk",
}


def remedy_of(error: OSError, otherwise: str = "correct that") -> str:
    """Return what to do so that what could not be written can be; `otherwise` if that is not known."""
    return remedy(error, _REMEDIES.get(error.errno or 0, otherwise))


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Turn an OSError inside into a JobError that says why `path`, or what of it, cannot be written and what to do."""
    try:
        yield
    except OSError as error:
        what_to_do, where = remedy_of(error), _where(path, error)
        raise JobError(
            f"{where} cannot be written ({reason(error)}); finished shards are kept: {what_to_do}, and run the same command "
            "again to go on"
        ) from error


def _where(path: object, error: OSError) -> object:
    """Return the file or folder below `path` that the error is about; `path` if it names none that a user knows."""
    named = Path(error.filename) if isinstance(error.filename, str) else None
    return named if isinstance(path, Path) and named and path in named.parents and not is_temporary(named) else path


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
        f"{path} cannot be read ({reason(error)}); finished shards are kept: {remedy(error, 'correct that')}, and run the same "
        "command again to go on"
    )
