"""List a dataset: the files of folders, patterns and lists, in one order, with source, size and time of change of each.

All of them may be in an object store: its objects are files, and what their names begin with are folders.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol

from avizor_inference.errors import DatasetError
from avizor_inference.items.column_check import ColumnCheck
from avizor_inference.items.file_access import exists, is_folder, name_of, other_kind, state_at
from avizor_inference.items.find_files import LeftOut, names_of_files, suffix_of
from avizor_inference.items.object_listing import objects_below, with_states
from avizor_inference.items.odd_names import WHY_ODD
from avizor_inference.items.path_lists import (
    LIST_SUFFIXES,
    TABLE_SUFFIXES,
    fixed_part,
    is_pattern,
    listed_files,
    matcher,
    matching_files,
    nothing_matches,
    table_files,
)
from avizor_inference.items.seen_keys import SeenKeys
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.object_store import is_url

_log = logging.getLogger(__name__)

# Objects with names that are no paths: so many of a listing are named, and all are counted.
_ODD_NAMED = 10
_ODD = "whose names are no paths"

# What a path of a URL begins with, also of one that is not known.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")


class Part(NamedTuple):
    """Says which items of a file that holds many (a table, a tar) an entry is: `items` of them, from number `first` on.

    item: the item's name in the file, or its number; of several items the first and the last number. offset: where the first
    begins in the file, in bytes, or 0 for files that are read by numbers alone.
    """

    item: str
    first: int
    items: int = 1
    offset: int = 0

    @property
    def key(self) -> str:
        """Return what stays when the file grows: of several items the number of the first."""
        return str(self.first) if self.items > 1 else self.item

    @property
    def is_by_number(self) -> bool:
        """Return whether what the part holds depends on what is before it in the file."""
        return self.key == str(self.first)

    def emptied(self) -> Part:
        """Return the part without items, under the same key: it stands for what the file does not have any more."""
        return Part(self.key, self.first, 0)


class Entry(NamedTuple):
    """Describes one file of a dataset, or some of the items of a file that holds many. There may be millions.

    uri: its path, below the root as the root was given, as `file_access.name_of` writes it. For an item of a file that holds
    many, `#` and the item's number, from 0, or its name in the file follow; for several items `#` and the first and the last
    number. file: the path of its file, as `str` gives it. size, in bytes, and modified_ns, in nanoseconds since 1970, are 0
    for what cannot be looked at; reading it says why. part: None for a file that is one item.
    """

    uri: str
    file: str
    source: str
    size: int
    modified_ns: int
    part: Part | None = None

    @property
    def path(self) -> Path:
        """Return the path of its file."""
        return Path(self.file)

    @property
    def items(self) -> int:
        """Return the number of items."""
        return self.part.items if self.part else 1

    def of_items(self, first: int, count: int, size: int, offset: int = 0) -> Entry:
        """Return the entry for some items of this file, by their numbers. size: theirs in bytes, about."""
        return self.of_part(Part(str(first) if count == 1 else f"{first}-{first + count - 1}", first, count, offset), size)

    def of_part(self, part: Part, size: int, source: str = "") -> Entry:
        """Return the entry for a part of this file. source: its own, if it has one."""
        return Entry(f"{self.file_uri}#{part.item}", self.file, source or self.source, size, self.modified_ns, part)

    def each(self) -> Iterator[Entry]:
        """Yield an entry for each item; an entry of one item is yielded itself."""
        if self.items == 1:
            yield self
        else:
            yield from (self.item(number) for number in range(self.items))

    def item(self, number: int, source: str = "") -> Entry:
        """Return the entry of one of the items, by its number from 0 in this part. source: its own, if it has one."""
        assert self.part
        part = self.part if self.items == 1 else Part(str(self.part.first + number), self.part.first + number)
        return self.of_part(part, 0, source)

    def first_items(self, count: int) -> Entry:
        """Return the entry without the items after the first `count`, at least 1."""
        if self.part is None or self.items <= count:
            return self
        return self.of_items(self.part.first, count, self.size * count // self.items, self.part.offset)

    def renamed(self, file: str, file_uri: str) -> Entry:
        """Return the same with another path and uri of its file."""
        uri = f"{file_uri}#{self.part.item}" if self.part else file_uri
        return Entry(uri, file, self.source, self.size, self.modified_ns, self.part)

    @property
    def file_uri(self) -> str:
        """Return the uri of the file that holds the item."""
        return self.uri.removesuffix(f"#{self.part.item}") if self.part else self.uri

    def as_it_is(self) -> Entry:
        """Return the entry with the size, unless it is a part of a file, and the time of change that its file has now."""
        size, modified_ns = state_at(self.path)
        return self._replace(size=self.size if self.part else size, modified_ns=modified_ns)


@dataclass(frozen=True)
class Columns:
    """Names columns of tables (CSV, Parquet); empty where there is none.

    path: of the paths of files. bytes: of whole files. source: of the sources of either, or of rows.
    """

    path: str = ""
    source: str = ""
    bytes: str = ""


class Pack(Protocol):
    """Lists the items of files that hold many, such as tables and tars."""

    def entries(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """Yield the items of a file, each or some of them together; the file itself if reading it is to say what is wrong.

        relative: its path as `SourceRule.source_of` takes it. Raises ColumnMissing for a table.
        """


def list_dataset(
    roots: Sequence[Path],
    suffixes: frozenset[str],
    rule: SourceRule | None = None,
    left_out: LeftOut | None = None,
    columns: Columns | None = None,
    packs: Mapping[str, Pack] | None = None,
    or_else: str = "",
) -> Iterator[Entry]:
    """Yield the files of each root: a folder, a pattern, a list of files, or one file of any suffix.

    Folders and patterns are listed by the rule of `find_files.find_files`, lists in their order; a file that is listed twice
    is one entry. Of an object store the order is the store's. rule: tells a file's source from its path below the root, or
    below the fixed part of a pattern; of a file of a list it is the folder that holds the file. If several roots are files, as
    a shell gives them for a pattern that is not quoted, it is their path below the folder that they share. Links that lead to
    nothing and pipes among such files are listed, as those of a folder are, if they have one of the suffixes. left_out: counts
    what is not listed. columns: with them a CSV or Parquet file is a list. packs: suffix of files that hold many items -> what
    lists these. or_else: ends the error for a pipe: what the command takes besides a folder or a file.

    Raises DatasetError if a root does not exist or cannot be listed, or if none of the tables has a column of `columns`,
    StoreUnavailable if an object store cannot be reached.
    """
    listing = _Listing(suffixes, rule or SourceRule(), left_out or LeftOut(), columns or Columns(), packs or {}, roots, or_else)
    for root in roots:
        try:
            yield from listing.entries(root)
        except OSError as error:
            raise DatasetError(f"{name_of(str(error.filename))}: cannot be listed ({error.strerror})") from error
    listing.column_check.end()


def entries_of_file(
    path: Path,
    relative: Path,
    rule: SourceRule,
    left_out: LeftOut | None = None,
    columns: Columns | None = None,
    packs: Mapping[str, Pack] | None = None,
) -> Iterator[Entry]:
    """Yield what `list_dataset` yields of one file of a folder: itself, or the items in it.

    relative: its path below the folder. Raises DatasetError if it is a table without the columns that `columns` names.
    """
    listing = _Listing(frozenset(), rule, left_out or LeftOut(), columns or Columns(), packs or {})
    yield from listing.file(str(path), str(relative))


def first_items(entries: Iterable[Entry], count: int | None) -> Iterator[Entry]:
    """Yield the entries of the first `count` items; of all for None."""
    if count is None:
        yield from entries
        return
    for entry in entries:
        first = entry.first_items(count)
        yield first
        count -= first.items
        if not count:
            return


def _absolute(path: Path) -> Path:
    """Return an absolute path without `..`; links stay."""
    return Path(os.path.normpath(path.absolute()))


def _missing(root: Path) -> DatasetError:
    if root.parts and _SCHEME.fullmatch(root.parts[0]) and not is_url(root):
        return DatasetError(f"{root}: there is no such file; an object store's URL begins with s3, gs, az, http or https")
    if root.is_symlink():
        return DatasetError(f"{name_of(str(root))} is a link that leads to nothing; mend it, or mount what it leads to")
    return DatasetError(f"{name_of(str(root))} does not exist; give a folder of files, or one file")


def is_listing(root: Path, suffixes: frozenset[str] = frozenset()) -> bool:
    """Return whether a root stands for many files: a folder, a pattern or a text file of paths."""
    return is_folder(root) or is_pattern(root) or (root.suffix.lower() in LIST_SUFFIXES and root.suffix.lower() not in suffixes)


@dataclass(frozen=True)
class _Listing:
    """Holds how `list_dataset` lists each root."""

    suffixes: frozenset[str]
    rule: SourceRule
    left_out: LeftOut
    columns: Columns
    packs: Mapping[str, Pack]
    roots: Sequence[Path] = ()
    or_else: str = ""
    column_check: ColumnCheck[Entry] = field(default_factory=ColumnCheck)

    @cached_property
    def _named_below(self) -> str:
        """The folder that all files among the roots share; "" for less than two. A store's are left to themselves."""
        several = self.roots if len(self.roots) > 1 else ()
        files = [_absolute(root) for root in several if not is_url(root) and self._is_one_file(root)]
        return os.path.commonpath([file.parent for file in files]) if len(files) > 1 else ""

    def _is_one_file(self, root: Path) -> bool:
        is_list = bool(self.columns.path) and root.suffix.lower() in TABLE_SUFFIXES
        return not is_list and not is_listing(root, self.suffixes) and os.path.lexists(root)

    def entries(self, root: Path) -> Iterator[Entry]:
        if is_pattern(root):
            yield from self._matching(root)
        elif problem := self._problem(root):
            if not self._costs_itself(root):
                raise problem
            yield from self.file(str(root), str(self._relative(root)))
        elif is_folder(root):
            yield from self._folder(root)
        elif self.columns.path and root.suffix.lower() in TABLE_SUFFIXES:
            yield from self._listed(table_files(root, self.columns.path, self.columns.source))
        elif is_listing(root, self.suffixes):
            yield from self._listed((path, "") for path in listed_files(root))
        else:
            self._check_table(root)
            yield from self.file(str(root), str(self._relative(root)))

    def _problem(self, root: Path) -> DatasetError | None:
        """Return the error for a root under which there is neither a file nor a folder."""
        if not exists(root):
            return _missing(root)
        other = other_kind(root)  # its writer is not waited for
        return DatasetError(f"{name_of(str(root))} is {other}; give a folder or a file{self.or_else}") if other else None

    def _costs_itself(self, root: Path) -> bool:
        """Return whether a link or a pipe is listed as it is in a folder, because a shell names it with other files.

        One of another suffix may stand for more than an item: a folder of a disk that is not mounted, a list.
        """
        return len(self.roots) > 1 and suffix_of(root) in self.suffixes and self._is_one_file(root)

    def _relative(self, root: Path) -> PurePath:
        """Return the path of a root that is a file below the folder that such roots share; its name, if it is not there."""
        path = _absolute(root)  # it may have come after they were looked at
        is_below = self._named_below and not is_url(root) and path.is_relative_to(self._named_below)
        return path.relative_to(self._named_below) if is_below else PurePath(root.name)

    def _check_table(self, root: Path) -> None:
        """Raise DatasetError for a table whose rows are not the items, if nothing says what is in it."""
        suffix = root.suffix.lower()
        if suffix in TABLE_SUFFIXES and not (suffix in self.packs or suffix in self.suffixes):
            files = " or whole files (--bytes-column)" if suffix == ".parquet" else ""
            raise DatasetError(f"{name_of(str(root))} is a table: say which column holds paths (--path-column){files}")

    def _folder(self, root: Path) -> Iterator[Entry]:
        if is_url(root):
            yield from self._objects(root, lambda _: True)
        else:
            for below in names_of_files(root, self.suffixes, self.left_out):
                yield from self.file(below.path, below.relative)

    def _matching(self, pattern: Path) -> Iterator[Entry]:
        base = fixed_part(pattern)
        if is_url(pattern):
            yield from self._objects(base, matcher(pattern), nothing_matches(pattern))
        else:
            for path in self._wanted(matching_files(pattern)):
                yield from self.file(str(path), str(path.relative_to(base)))

    def _objects(
        self, base: Path, is_asked: Callable[[PurePath], bool], nothing: DatasetError | None = None
    ) -> Iterator[Entry]:
        """Yield the objects below a URL, as `find_files` does files. nothing: is raised if none is asked for."""
        for path, state in objects_below(base, partial(self._leave_out_odd, base)):
            relative = path.relative_to(base)
            if not is_asked(relative):
                continue
            if state is None:
                self.left_out.counts["for empty folders"] += 1
                continue
            if any(part.startswith(".") for part in relative.parts):
                self.left_out.counts["hidden"] += 1
                continue
            nothing = None
            for wanted in self._wanted([path]):
                yield from self.file(str(wanted), str(relative), state=state)
        if nothing:
            raise nothing

    def _leave_out_odd(self, base: Path, key: str) -> None:
        self.left_out.counts[_ODD] += 1
        if self.left_out.counts[_ODD] <= _ODD_NAMED:
            _log.warning("%s: the object %r is left out: %s", name_of(str(base)), key, WHY_ODD)

    def file(self, path: str, relative: str, source: str = "", state: tuple[int, int] | None = None) -> Iterable[Entry]:
        """Return a file, or the items in it.

        relative: see `SourceRule.source_of`. source: its own, if it has one. state: its size and time, if they are known.
        """
        state = state_at(path) if state is None else state
        file = Entry(name_of(path), path, source or self.rule.source_of(relative), *state)
        pack = self.packs.get(suffix_of(path))
        if pack is None:
            return (file,)
        items = pack.entries(file, PurePath(relative), self.rule, self.left_out)
        return self.column_check.items(file, file.uri, items) if suffix_of(path) in TABLE_SUFFIXES else items

    def _wanted(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Leave out, and count, the files of other suffixes."""
        for path in paths:
            if suffix_of(path) in self.suffixes:
                yield path
            else:
                self.left_out.add(path)

    def _listed(self, files: Iterable[tuple[Path, str]]) -> Iterator[Entry]:
        """Yield the files of a list, each once."""
        for path, source, state in with_states(self._wanted_once(files)):
            relative = path if self.rule.pattern else Path(*path.parts[-2:])
            yield from self.file(str(path), str(relative), source, state)

    def _wanted_once(self, files: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
        """Leave out what comes again. Hashes of the paths are kept: they take less memory than the paths."""
        seen = SeenKeys()
        for path, source in files:
            if not seen.add(hash(path)):
                self.left_out.counts["listed again"] += 1
                continue
            for wanted in self._wanted([path]):
                yield wanted, source
