"""Let one job at a time use an output folder, by locks on one of its files. The kernel releases them however a process ends.

A job locks the first byte while it runs, and its workers share a lock on the second. So a second job is refused at once while
the first is running; if the first was killed, the second waits for its workers, which end by themselves (runners/local.py).
The locks are record locks, not flock, because those also work between machines on NFS.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_inference.errors import JobError
from avizor_pipeline.sinks.write_errors import writing

_log = logging.getLogger(__name__)

LOCK_FILE = "job.lock"

# Bytes of the file.
_JOB, _WORKERS = 0, 1

# Workers of a killed job end when they notice, which takes no longer than a run of a model or the start of a process.
_WAIT_S = 60.0
_POLL_S = 0.1

# Errors of file systems that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def job_lock(out: Path, *, make: bool = True) -> Iterator[None]:
    """Hold `out` for one job. make: whether to make the lock file; if not, a folder without one is not locked.

    Raises JobError while another job, or the workers of a killed one, hold it.
    """
    path = out / LOCK_FILE
    if not make and not path.exists():
        yield
        return
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
    try:
        _acquire(descriptor, out)
        if make:
            with writing(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _this_process().encode(), 0)
        yield
    finally:
        os.close(descriptor)


def hold_as_worker(out: Path) -> None:
    """Mark `out` as written to by a worker, until this process ends."""
    with writing(out / LOCK_FILE):
        descriptor = os.open(out / LOCK_FILE, os.O_RDWR)
        _lock(descriptor, fcntl.LOCK_SH, _WORKERS)


def _acquire(descriptor: int, out: Path) -> None:
    if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _JOB):
        raise JobError(f"another job is running in {out}{_holder(descriptor)}; wait for its end, or choose another --out")
    deadline = time.monotonic() + _WAIT_S
    while not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _WORKERS):
        if time.monotonic() > deadline:
            raise JobError(f"workers of a killed job are still running in {out}; end them, or choose another --out")
        time.sleep(_POLL_S)
    _lock(descriptor, fcntl.LOCK_UN, _WORKERS)


def _lock(descriptor: int, how: int, byte: int) -> bool:
    """Return whether the lock was acquired. A file system without locks never refuses; the log has a warning then."""
    try:
        fcntl.lockf(descriptor, how, 1, byte)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _NO_LOCKS:
            raise
        if byte == _JOB:
            _log.warning("the file system of the output has no locks; make sure that no other job writes there")
    return True


def _this_process() -> str:
    return (
        json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n"
    )


def _holder(descriptor: int) -> str:
    """Return who holds the lock, as far as the file says so."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f" (process {holder['process']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
