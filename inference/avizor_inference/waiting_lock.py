"""Hold a file's lock while commands change something together, and say so where another command has to be waited for."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_inference.regular_files import regular_descriptor

_log = logging.getLogger(__name__)

# Commands hold a lock for seconds. A command that waits longer says what it waits for, which may have been suspended.
_QUIET_S = 5.0
_AGAIN_S = 0.05


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file during the block: two commands at once follow one another. The file is created and stays.

    It may be another user's file, which can only be read. Raises OSError, also for what is no file, such as a pipe.
    """
    try:
        descriptor = regular_descriptor(path, os.O_RDWR | os.O_CREAT)
    except PermissionError:
        descriptor = regular_descriptor(path, os.O_RDONLY)
    try:
        _wait(descriptor, path)
        yield
    finally:
        os.close(descriptor)  # the kernel releases the lock, also if this process is killed


def _wait(descriptor: int, path: Path) -> None:
    quiet_until = time.monotonic() + _QUIET_S
    while not _taken(descriptor):
        if time.monotonic() > quiet_until:
            _log.warning(
                "another command is at work here, and is waited for; if it hangs, `fuser %s` tells which",
                shlex.quote(str(path)),
            )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        time.sleep(_AGAIN_S)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True
