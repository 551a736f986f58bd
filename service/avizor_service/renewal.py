"""Read files again when they have changed: tokens and certificates, whose files other programs write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from avizor_inference.errors import AvizorError

# Seconds between two looks. Files that change are read when two looks have found them alike: one may be half written.
LOOK_S = 1.5

# What tells one state of the files from another; None for one that is missing.
_State = tuple[tuple[int, ...] | None, ...]


class Renewal:
    """Calls `read` when the files have changed, or someone asks. Its `look` is a reload of reloading.py.

    paths: files; a link counts as what it leads to. read: raises AvizorError for files that cannot be used, and then changes
    nothing. They have been read once before.
    """

    def __init__(self, paths: Iterable[Path], read: Callable[[], None]) -> None:
        self._paths, self._read = tuple(paths), read
        self._seen = self._used = self._state()
        self._problem: AvizorError | None = None

    def look(self, asked: bool) -> None:
        """Read the files if they have changed, and rest since the last look, or if it is asked for.

        Raises AvizorError if they cannot be used, at each look until that has changed.
        """
        state = self._state()
        rests, self._seen = state == self._seen, state
        if asked or (rests and state != self._used):
            self._used, self._problem = state, None
            try:
                self._read()
            except AvizorError as error:
                self._problem = error
        if self._problem:
            raise type(self._problem)(*self._problem.args)  # anew: an error that is raised again and again keeps all its frames

    def _state(self) -> _State:
        return tuple(map(_state_of, self._paths))


def _state_of(path: Path) -> tuple[int, ...] | None:
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
