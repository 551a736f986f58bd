"""Say whether a file is open for writing on this machine, however long its writer pauses.

Linux grants a read lease on a file only while nobody has it open for writing (fcntl(2), F_SETLEASE). The lease is given back at
once. Over a network file system the kernel does not know all writers, and neither does it say so; there nothing is known, as
for a file of another user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from functools import lru_cache
from pathlib import Path

# File systems of a disk or of memory, whose writers are all processes of this machine.
_LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs"})

_MOUNTS = Path("/proc/self/mountinfo")


def ignore_lease_signals() -> None:
    """Ignore the signal that a writer sends who opens a file in the moment in which it is leased: it would end the process."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def is_being_written(path: Path) -> bool:
    """Return whether a process of this machine has the file open for writing; False if that cannot be known.

    `ignore_lease_signals` has to be called before.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False  # reading it says why
    try:
        if not _is_local(os.fstat(descriptor).st_dev):
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


@lru_cache(maxsize=64)
def _is_local(device: int) -> bool:
    """Return whether a device number is that of a local file system."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2] == name}
    return bool(kinds) and kinds <= _LOCAL
