"""Give each process that keeps items in a folder a number of its own while it lives: it alone writes the parts of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avizor_service.keeping.private_files import make_private_folder

_WRITERS = "writers"
_MOST = 1024


class Slot:
    """Holds a number. number: from 0; a process that ends, also by a kill, gives it back."""

    def __init__(self, number: int, descriptor: int) -> None:
        self.number, self._descriptor = number, descriptor

    @classmethod
    def take(cls, folder: Path, number: int) -> Slot | None:
        """Take a number unless another process has it. Raises OSError."""
        descriptor = os.open(folder / _WRITERS / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(number, descriptor)

    @classmethod
    def first_free(cls, folder: Path) -> Slot:
        """Take the least number that no process has. Raises OSError."""
        make_private_folder(folder / _WRITERS)
        for number in range(_MOST):
            if slot := cls.take(folder, number):
                return slot
        raise OSError(f"{folder} has {_MOST} writers already")

    def give_back(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)


@contextmanager
def borrowed(folder: Path, number: int) -> Iterator[bool]:
    """Hold the number of a process that has ended, if it has. Gives whether it has. Raises OSError."""
    slot = Slot.take(folder, number)
    try:
        yield slot is not None
    finally:
        if slot:
            slot.give_back()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in the same place, for what all writers share. Raises OSError."""
    descriptor = os.open(folder / _WRITERS / "all", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
