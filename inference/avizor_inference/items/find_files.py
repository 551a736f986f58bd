"""Find the files of a folder: which are listed, in which order, and what is left out."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Longer "suffixes" are parts of names, as in `recording.2024-05-01`.
_LONGEST_SUFFIX = 6

# By so many ways a folder may be reached. Folders that hold links to each other are reached by more ways than can be counted.
_MOST_VISITS = 1000


class LeftOut:
    """Counts what a listing leaves out: by suffix, and what is hidden."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, path: Path) -> None:
        """Count one file, or one hidden folder."""
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            kind = "hidden"
        elif not suffix:
            kind = "without suffix"
        elif len(suffix) <= _LONGEST_SUFFIX and suffix[1:].isascii() and suffix[1:].isalnum():
            kind = suffix
        else:
            kind = "of other suffixes"
        self.counts[kind] += 1

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items(), key=lambda each: (-each[1], each[0])))


def find_files(folder: Path, suffixes: frozenset[str], left_out: LeftOut | None = None) -> Iterator[Path]:
    """Files below `folder` of these suffixes (of either case), in an order that is the same everywhere. Raises OSError.

    Hidden files and folders are left out; linked folders are followed, but not into themselves. What is left out is counted in
    `left_out`. A folder further down that cannot be listed, and what cannot be looked at, comes as if it were a file, so that
    reading it says why.
    """
    # What is left of each folder on the way down, and the folders above it: folders may be nested deeper than calls may.
    open_folders = [(_listing(folder), frozenset({folder.resolve()}))]
    visits: Counter[Path] = Counter()
    while open_folders:
        paths, above = open_folders[-1]
        path = next(paths, None)
        if path is None:
            open_folders.pop()
        elif path.name.startswith("."):
            _count(left_out, path)
        elif (is_folder := _is_folder(path)) is None:
            yield path
        elif is_folder:
            real = path.resolve()
            if real in above:
                continue
            visits[real] += 1
            if visits[real] > _MOST_VISITS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            try:
                open_folders.append((_listing(path), above | {real}))
            except OSError:
                yield path
        elif path.suffix.lower() in suffixes:
            yield path
        else:
            _count(left_out, path)


def _listing(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir(), key=lambda path: path.name))


def _count(left_out: LeftOut | None, path: Path) -> None:
    if left_out is not None:
        left_out.add(path)


def _is_folder(path: Path) -> bool | None:
    """Whether a folder lies at a path; None where it cannot be told. A link that leads nowhere is told by its name: no."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        return False if error.errno in (errno.ENOENT, errno.ELOOP) else None
