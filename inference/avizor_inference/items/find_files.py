"""Find the files below a folder: decide which ones are listed and in which order, and count those that are left out."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

# Longer "suffixes" are parts of names, as in `recording.2024-05-01`.
_LONGEST_SUFFIX = 6

# A folder may be reached by at most this number of paths. Folders with links to each other can be reached by endlessly many.
_MOST_VISITS = 1000


def suffix_of(path: PurePath | str) -> str:
    """Return the suffix of a file in small letters, with what is before `.gz`: `.tar.gz`."""
    text = str(path)
    suffix = suffix_in(text)
    return suffix_in(text[: -len(suffix)]) + suffix if suffix == ".gz" else suffix


def suffix_in(text: str) -> str:
    """Return the suffix of the name at the end of a path's text in small letters, as pathlib finds it."""
    name = text[text.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


class LeftOut:
    """Counts the files that a listing leaves out, by suffix, and the hidden files and folders.

    remedies: suffix -> what to do so that such files are read.
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
    """Yield the files below `folder` that have one of these suffixes (in either case; None: any). See `names_of_files`."""
    return (Path(file.path) for file in names_of_files(folder, suffixes, left_out))


class FoundFile(NamedTuple):
    """Names a file by its path, and by its path below the folder that was searched, as texts: there may be millions."""

    path: str
    relative: str


def names_of_files(folder: Path, suffixes: frozenset[str] | None, left_out: LeftOut | None = None) -> Iterator[FoundFile]:
    """Yield the files below `folder` that have one of these suffixes (in either case; None: any), in one order everywhere.

    Hidden files and folders are left out. Links to folders are followed, except into a folder that contains the link. Files
    that are left out are counted in `left_out`. A subfolder that cannot be listed, and a path that cannot be examined, is
    yielded like a file, so that reading it reports the cause. Raises OSError.
    """
    start = len(_before_names(folder))
    # A stack of the remaining names of each open folder, what is before them, and the folders above it. Folders may be nested
    # deeper than calls.
    open_folders = [(_listing(folder), _before_names(folder), frozenset({folder.resolve()}))]
    visits: Counter[Path] = Counter()
    while open_folders:
        names, before, above = open_folders[-1]
        name, is_file = next(names, (None, False))
        if name is None:
            open_folders.pop()
            continue
        path = before + name
        if name.startswith("."):
            _count(left_out, path)
        elif (is_folder := False if is_file else _is_folder(path)) is None:
            yield FoundFile(path, path[start:])
        elif is_folder:
            real = Path(path).resolve()
            if real in above:
                continue
            visits[real] += 1
            if visits[real] > _MOST_VISITS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            try:
                open_folders.append((_listing(Path(path)), f"{path}/", above | {real}))
            except OSError:
                yield FoundFile(path, path[start:])
        elif suffixes is None or suffix_of(name) in suffixes:
            yield FoundFile(path, path[start:])
        else:
            _count(left_out, path)


def _before_names(folder: Path) -> str:
    """Return what is before the names of its files in their paths: nothing for the current folder."""
    return str(folder / "_")[:-1]


def _listing(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield the names in a folder, and whether the folder tells that it is a file, so that it need not be looked at."""
    names, others = [], set()  # paths would take some 350 bytes each, and a folder may have a million
    with os.scandir(folder) as found:
        for each in found:
            names.append(each.name)
            if not each.is_file(follow_symlinks=False):
                others.add(each.name)
    names.sort()
    return ((name, name not in others) for name in names)


def _count(left_out: LeftOut | None, path: str) -> None:
    if left_out is not None:
        left_out.add(PurePath(path))


def _is_folder(path: str) -> bool | None:
    """Return whether the path is a folder; None if that cannot be found out. A broken link is not a folder."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - it is a text
    except OSError as error:
        return False if error.errno in (errno.ENOENT, errno.ELOOP) else None
