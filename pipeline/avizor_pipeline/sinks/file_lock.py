"""Let one job at a time use a folder, by locks on one of its files. The kernel releases them however a process ends.

A job locks the first byte while it runs, and its workers share a lock on the second. So a second job is refused at once while
the first is running; if the first was killed, the second waits for its workers, which end by themselves (runners/local.py).
The locks are record locks, not flock, because those also work between machines on NFS.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avizor_inference.errors import JobError
from avizor_inference.strict_json import Strict
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


class Holder(Strict):
    """Says which job holds a folder. place: drawn once for each lock file, so that it tells one machine's from another's."""

    process: int
    host: str
    since: str
    place: str = ""

    @classmethod
    def this_process(cls, place: str = "") -> Holder:
        """Return what this process writes down."""
        return cls(process=os.getpid(), host=socket.gethostname(), since=time.strftime("%Y-%m-%dT%H:%M:%S%z"), place=place)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextmanager
def file_lock(folder: Path, out: object, *, make: bool = True, place: bool = False) -> Iterator[Holder]:
    """Hold a folder for one job that writes into `out`; yield what is written about it.

    make: whether to make the lock file; if not, a folder without one is not locked. place: whether to write one.
    Raises JobError while another job, or the workers of a killed one, hold it.
    """
    path = folder / LOCK_FILE
    if not make and not path.exists():
        yield Holder.this_process()
        return
    descriptor = _open(path, make=make, place=place)
    try:
        _acquire(descriptor, out)
        while place and not _is_at(descriptor, path):  # a job that ended meanwhile has removed it
            removed, descriptor = descriptor, _open(path, make=make, place=place)
            os.close(removed)
            _acquire(descriptor, out)
        before = _holder(descriptor)
        holder = Holder.this_process((before and before.place) or secrets.token_hex(8) if place else "")
        if make:
            with writing(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{holder.model_dump_json()}\n".encode(), 0)
        yield holder
    finally:
        os.close(descriptor)


def _open(path: Path, *, make: bool, place: bool) -> int:
    """Open the lock file. place: its folder may have been removed by a job that has ended, and is made again."""
    with writing(path):
        while True:
            try:
                return os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
            except FileNotFoundError:
                if not place:
                    raise
                path.parent.mkdir(exist_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def remove_place(folder: Path) -> None:
    """Remove a folder of this machine with its lock file, which this process holds, if nothing else is in it."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} == {LOCK_FILE}:
            (folder / LOCK_FILE).unlink()
            folder.rmdir()


def hold_file_as_worker(folder: Path) -> None:
    """Mark a folder as used by a worker, until this process ends."""
    with writing(folder / LOCK_FILE):
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR)
        _lock(descriptor, fcntl.LOCK_SH, _WORKERS)


def lock_state(folder: Path) -> str:
    """Return what tells a locked folder from any other one, on each machine that has it. Raises OSError.

    The lock file is not opened: a process that closes it would lose its locks.
    """
    state = (folder / LOCK_FILE).stat()
    return f"{state.st_size} bytes of {state.st_mtime_ns}"


def same_folder(folder: Path) -> Callable[[], None]:
    """Return a check that raises JobError when a locked folder is not there any more, or is another one of the same name.

    The lock file is not opened: see `lock_state`.
    """
    path = folder / LOCK_FILE

    def identity() -> tuple[int, int]:
        state = path.stat()
        return state.st_dev, state.st_ino

    with writing(path):
        held = identity()

    def check() -> None:
        found = None
        with writing(path), suppress(FileNotFoundError, NotADirectoryError):
            found = identity()
        if found != held:
            raise JobError(
                f"{folder} was removed, replaced or unmounted while the job ran: put it back, and run the same command again "
                "to go on"
            )

    return check


@contextmanager
def no_worker_in(folder: Path) -> Iterator[bool]:
    """Yield whether no worker of this machine uses a folder; none begins to until the end. The lock file is made."""
    with writing(folder / LOCK_FILE):
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _WORKERS)
    finally:
        os.close(descriptor)


def refusal(out: object, holder: Holder | None) -> JobError:
    """Return the error of a job that finds another one in its output folder."""
    who = f" ({holder})" if holder else ""
    return JobError(f"another job is running in {out}{who}; wait for its end; a new job can have another --out")


def _acquire(descriptor: int, out: object) -> None:
    if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _JOB):
        raise refusal(out, _holder(descriptor))
    deadline = time.monotonic() + _WAIT_S
    while not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _WORKERS):
        if time.monotonic() > deadline:
            raise JobError(f"workers of a killed job are still running in {out}; end them; a new job can have another --out")
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


def _holder(descriptor: int) -> Holder | None:
    """Return who holds the lock, or held it last, as far as the file says so."""
    with suppress(OSError, ValueError):
        return Holder.model_validate_json(os.pread(descriptor, 4096, 0))
    return None
