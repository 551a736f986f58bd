"""Read files again when they have changed: tokens and certificates, whose files other programs write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from avizor_inference.errors import AvizorError
from avizor_inference.file_stamps import Stamp, stamp

# Seconds between two looks. Files that change are read when two looks have found them alike: one may be half written.
LOOK_S = 1.5


class Renewal:
    """Calls `read` when the files have changed, or someone asks. Its `look` is a reload of reloading.py.

    paths: files; a link counts as what it leads to. read: raises AvizorError for files that cannot be used, and then changes
    nothing. They have been read once before.
    """

    def __init__(self, paths: Iterable[Path], read: Callable[[], None]) -> None:
        self._paths, self._read = tuple(paths), read
        self._seen = self._used = self._stamps()
        self._problem: AvizorError | None = None

    def look(self, asked: bool) -> None:
        """Read the files if they have changed, and rest since the last look, or if it is asked for.

        Raises AvizorError if they cannot be used, at each look until that has changed.
        """
        stamps = self._stamps()
        rests, self._seen = stamps == self._seen, stamps
        if asked or (rests and stamps != self._used):
            self._used, self._problem = stamps, None
            try:
                self._read()
            except AvizorError as error:
                self._problem = error
        if self._problem:
            raise type(self._problem)(*self._problem.args)  # anew: an error that is raised again and again keeps all its frames

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(map(stamp, self._paths))
