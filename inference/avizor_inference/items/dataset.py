"""List a dataset: the files of folders, patterns and lists, in one order, with source, size and time of change of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avizor_inference.errors import DatasetError
from avizor_inference.items.file_access import name_of
from avizor_inference.items.find_files import LeftOut, find_files
from avizor_inference.items.path_lists import (
    LIST_SUFFIXES,
    TABLE_SUFFIXES,
    fixed_part,
    is_pattern,
    listed_files,
    matching_files,
    table_files,
)
from avizor_inference.items.source_rule import SourceRule


@dataclass(frozen=True)
class Entry:
    """Describes one file of a dataset.

    uri: its path, below the root as the root was given, as `file_access.name_of` writes it. size, in bytes, and modified_ns, in
    nanoseconds since 1970, are 0 for what cannot be looked at; reading it says why.
    """

    uri: str
    path: Path
    source: str
    size: int
    modified_ns: int

    def as_it_is(self) -> Entry:
        """Return the entry with the size and the time of change that its file has now."""
        size, modified_ns = _size_and_time(self.path)
        return replace(self, size=size, modified_ns=modified_ns)


@dataclass(frozen=True)
class Columns:
    """Names the columns of a table of files (CSV, Parquet): the files' paths, and their sources; empty where there is none."""

    path: str = ""
    source: str = ""


def list_dataset(
    roots: Sequence[Path],
    suffixes: frozenset[str],
    rule: SourceRule | None = None,
    left_out: LeftOut | None = None,
    columns: Columns | None = None,
) -> Iterator[Entry]:
    """Yield the files of each root: a folder, a pattern, a list of files, or one file of any suffix.

    Folders and patterns are listed by the rule of `find_files.find_files`, lists in their order; a file that is listed twice
    is one entry. rule: tells a file's source from its path below the root, or below the fixed part of a pattern; of a file of
    a list it is the folder that holds the file. left_out: counts what is not listed. columns: with them a CSV or Parquet file
    is a list. Raises DatasetError if a root does not exist or cannot be listed.
    """
    listing = _Listing(suffixes, rule or SourceRule(), left_out, columns or Columns())
    for root in roots:
        try:
            yield from listing.entries(root)
        except OSError as error:
            raise DatasetError(f"{name_of(str(error.filename))}: cannot be listed ({error.strerror})") from error


def is_listing(root: Path, suffixes: frozenset[str] = frozenset()) -> bool:
    """Return whether a root stands for many files: a folder, a pattern or a text file of paths."""
    return root.is_dir() or is_pattern(root) or (root.suffix.lower() in LIST_SUFFIXES and root.suffix.lower() not in suffixes)


@dataclass(frozen=True)
class _Listing:
    """Holds how `list_dataset` lists each root."""

    suffixes: frozenset[str]
    rule: SourceRule
    left_out: LeftOut | None
    columns: Columns

    def entries(self, root: Path) -> Iterator[Entry]:
        if is_pattern(root):
            base = fixed_part(root)
            yield from (_entry(path, self._source(path.relative_to(base))) for path in self._wanted(matching_files(root)))
        elif not root.exists():
            raise DatasetError(f"{name_of(str(root))} does not exist; give a folder of files, or one file")
        elif root.is_dir():
            for path in find_files(root, self.suffixes, self.left_out):
                yield _entry(path, self._source(path.relative_to(root)))
        elif self.columns.path and root.suffix.lower() in TABLE_SUFFIXES:
            sources = table_files(root, self.columns.path, self.columns.source)
            yield from self._listed((path, source or self._source_in_list(path)) for path, source in sources)
        elif is_listing(root, self.suffixes):
            yield from self._listed((path, self._source_in_list(path)) for path in listed_files(root))
        else:
            yield _entry(root, self._source(Path(root.name)))

    def _source(self, relative: Path) -> str:
        return self.rule.source_of(relative)

    def _source_in_list(self, path: Path) -> str:
        return self._source(path if self.rule.pattern else Path(*path.parts[-2:]))

    def _wanted(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Leave out, and count, the files of other suffixes."""
        for path in paths:
            if path.suffix.lower() in self.suffixes:
                yield path
            elif self.left_out is not None:
                self.left_out.add(path)

    def _listed(self, files: Iterable[tuple[Path, str]]) -> Iterator[Entry]:
        """Yield the files of a list, each once. Hashes of the paths are kept: they take less memory than the paths."""
        seen: set[int] = set()
        for path, source in files:
            if hash(path) in seen:
                if self.left_out is not None:
                    self.left_out.counts["listed again"] += 1
                continue
            seen.add(hash(path))
            yield from (_entry(wanted, source) for wanted in self._wanted([path]))


def _entry(path: Path, source: str) -> Entry:
    return Entry(name_of(str(path)), path, source, *_size_and_time(path))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
