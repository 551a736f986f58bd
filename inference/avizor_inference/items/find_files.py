"""Find the files below a folder: decide which ones are listed and in which order, and count those that are left out."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

# Longer "suffixes" are parts of names, as in `recording.2024-05-01`.
_LONGEST_SUFFIX = 6

# A folder may be reached by at most this number of paths. Folders with links to each other can be reached by endlessly many.
_MOST_VISITS = 1000


def suffix_of(path: PurePath) -> str:
    """Return the suffix of a file in small letters, with what is before `.gz`: `.tar.gz`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() + suffix if suffix == ".gz" else suffix


class LeftOut:
    """Counts the files that a listing leaves out, by suffix, and the hidden files and folders.

    remedies: suffix -> how to install what reads such files.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.remedies: dict[str, str] = {}

    def add(self, path: PurePath) -> None:
        """Count a file, or a hidden folder."""
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
        by_count = sorted(self.counts.items(), key=lambda kind_and_count: (-kind_and_count[1], kind_and_count[0]))
        listed = ", ".join(f"{count} {kind}" for kind, count in by_count)
        remedies = dict.fromkeys(self.remedies[kind] for kind in self.counts if kind in self.remedies)
        return "; ".join([listed, *(f"to read {self._kinds_of(remedy)}: {remedy}" for remedy in remedies)])

    def _kinds_of(self, remedy: str) -> str:
        return ", ".join(sorted(kind for kind in self.counts if self.remedies.get(kind) == remedy))


def find_files(folder: Path, suffixes: frozenset[str] | None, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield the files below `folder` that have one of these suffixes (in either case; None: any), in one order everywhere.

    Hidden files and folders are left out. Links to folders are followed, except into a folder that contains the link. Files
    that are left out are counted in `left_out`. A subfolder that cannot be listed, and a path that cannot be examined, is
    yielded like a file, so that reading it reports the cause. Raises OSError.
    """
    # A stack of the remaining paths of each open folder, and the folders above it. Folders may be nested deeper than calls.
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
        elif suffixes is None or suffix_of(path) in suffixes:
            yield path
        else:
            _count(left_out, path)


def _listing(folder: Path) -> Iterator[Path]:
    names = sorted(os.listdir(folder))  # paths would take some 350 bytes each, and a folder may have a million
    return (folder / name for name in names)


def _count(left_out: LeftOut | None, path: Path) -> None:
    if left_out is not None:
        left_out.add(path)


def _is_folder(path: Path) -> bool | None:
    """Return whether the path is a folder; None if that cannot be found out. A broken link is not a folder."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        return False if error.errno in (errno.ENOENT, errno.ELOOP) else None
