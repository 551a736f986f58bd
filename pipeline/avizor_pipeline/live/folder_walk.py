"""Look through a folder again and again, by the rules of `find_files`, without listing what has not changed.

A folder's own time of change tells whether files have come or gone. So of a folder that has kept it over two listings some
seconds apart only this time is looked at, and only now and then all of its files. Clocks are not compared: that of a file
server may differ.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from avizor_inference.error_text import reason
from avizor_inference.items.file_access import state_in
from avizor_inference.items.find_files import suffix_in, suffix_of
from avizor_pipeline.live.known_states import State

# Seconds for which a folder's time of change has to stand still: that of some file systems counts in whole seconds, or two.
_STILL_S = 4.0
# Names that files have until they are finished, and how many other suffixes are noted.
_UNFINISHED, _MOST_UNWANTED = frozenset({".part", ".tmp", ".temp", ".crdownload", ".partial", ".filepart"}), 20


class Found(NamedTuple):
    """Names a file by its path below the folder, with its state."""

    below: str
    state: State


@dataclass
class _Listed:
    """Holds what a listing of a folder found. since: when this time of change was first seen, by the monotonic clock."""

    changed_ns: int
    since: float
    folders: list[str]
    is_still: bool = False


class FolderWalk:
    """Walks one folder. suffixes: of the files that are wanted, in small letters.

    device: number of the file system of the folder at the last look. unwanted: of each suffix that is not wanted the path of
    the first file that was found, below the folder; not of names that files have until they are finished.
    """

    def __init__(self, root: Path, suffixes: frozenset[str]) -> None:
        self.root, self.device = root, -1
        self.unlisted: dict[str, str] = {}  # sub-folders that could not be listed, and why
        self.unwanted: dict[str, str] = {}
        self._suffixes, self._endings = suffixes, tuple(suffixes)
        self._listed: dict[str, _Listed] = {}
        self.is_empty = False

    def files(self, *, everything: bool = False) -> Generator[Found, None, None]:
        """Yield files that may be new, or all of them. Raises OSError if the folder itself cannot be looked at."""
        self.is_empty, seen, unlisted = False, set[str](), dict[str, str]()
        self.device = os.stat(self.root).st_dev  # noqa: PTH116 - as the rest, which is called a million times
        waiting = [("", frozenset[tuple[int, int]]())]
        while waiting:
            below, above = waiting.pop()
            try:
                status = os.stat(self._path(below))  # noqa: PTH116
                if (identity := (status.st_dev, status.st_ino)) in above:
                    continue  # a link to a folder that contains it
                listed = self._listed.get(below)
                if everything or listed is None or not listed.is_still or listed.changed_ns != status.st_mtime_ns:
                    folders = list[str]()
                    yield from self._list(below, folders)
                    listed = self._note(below, status.st_mtime_ns, folders)
            except OSError as error:
                if not below:
                    raise
                unlisted[below] = reason(error)
                continue
            seen.add(below)
            waiting.extend((folder, above | {identity}) for folder in listed.folders)
        self._listed = {below: listed for below, listed in self._listed.items() if below in seen}
        self.unlisted = unlisted

    def _list(self, below: str, folders: list[str]) -> Iterator[Found]:
        """Yield the wanted files of a folder, and collect its sub-folders."""
        empty = True
        with os.scandir(self._path(below)) as entries:
            for entry in entries:
                empty = False
                if entry.name.startswith("."):
                    continue
                path = f"{below}/{entry.name}" if below else entry.name
                try:
                    if entry.is_dir():
                        folders.append(path)
                    elif not self._is_wanted(entry.name):
                        self._note_unwanted(path)
                    elif stat.S_ISREG((status := entry.stat()).st_mode):
                        yield Found(path, state_in(status))
                except OSError:
                    continue  # it is gone
        if not below:
            self.is_empty = empty

    def _note(self, below: str, changed_ns: int, folders: list[str]) -> _Listed:
        now, before = time.monotonic(), self._listed.get(below)
        since = before.since if before and before.changed_ns == changed_ns else now
        self._listed[below] = listed = _Listed(changed_ns, since, folders, now - since >= _STILL_S)
        return listed

    def _note_unwanted(self, path: str) -> None:
        suffix = suffix_in(path)
        if suffix and suffix not in _UNFINISHED and len(self.unwanted) < _MOST_UNWANTED:
            self.unwanted.setdefault(suffix, path)

    def _is_wanted(self, name: str) -> bool:
        return name.lower().endswith(self._endings) and suffix_of(PurePath(name)) in self._suffixes

    def _path(self, below: str) -> str:
        return os.path.join(self.root, below)  # noqa: PTH118
