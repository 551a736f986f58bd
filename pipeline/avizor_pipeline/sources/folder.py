"""Read folders, patterns and lists of files, single files, and files that hold many items, of the kinds that a job takes."""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.items.data.open_packs import open_packs
from avizor_inference.items.data.packs import contents_by_suffix, open_listed
from avizor_inference.items.dataset import Columns, Entry, entries_of_file, first_items, list_dataset
from avizor_inference.items.file_access import open_file, path_of
from avizor_inference.items.file_marks import LOOKED_AT, is_of_a_kind
from avizor_inference.items.find_files import LeftOut, suffix_of
from avizor_inference.items.kinds.base import Content, FileContent, OneRow
from avizor_inference.items.object_files import WHOLE_BYTES, ReadAhead
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.text_encoding import not_utf8
from avizor_inference.items.windows import ChannelMode
from avizor_inference.object_store import StoreState, is_url

# Suffix of a file that another is packed in -> the command that unpacks it.
_UNPACK = {".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".xz": "unxz -k", ".zst": "unzstd", ".zip": "unzip"}

# What a job takes besides a folder or a file.
_OR_ELSE = " (`COMMAND | avizor batch -` reads a list of files)"


class FolderSource:
    """Lists and opens the files of each root (see `list_dataset`), named as `file_access.name_of` writes names.

    contents: what the items may be. The suffix tells which; a file that is named itself may have any, if it begins like one of
    them, and is then all of them.
    limit: items to list. row_columns: see `open_packs`. channels: see `Content.taking`.
    """

    def __init__(
        self,
        roots: Sequence[str],
        contents: Sequence[type[Content]],
        source_pattern: str = "",
        columns: Columns | None = None,
        limit: int | None = None,
        row_columns: Sequence[str] = (),
        channels: ChannelMode = "each",
    ) -> None:
        self._files = [content for content in contents if issubclass(content, FileContent)]
        self._roots = [path_of(root) for root in roots]
        self._rule = SourceRule(source_pattern)
        self._columns, self._limit, self._channels = columns, limit, channels
        self._packs = open_packs(contents, columns, row_columns)
        self._ahead = ReadAhead()

    def list(self, left_out: LeftOut | None = None) -> Iterator[Entry]:
        """See Source. A root that is one file of a kind that is not read is left out, too.

        Raises DatasetError if all roots are such files.
        """
        if left_out:
            left_out.remedies = self._remedies
        entries = list_dataset(self._roots, self.suffixes, self._rule, left_out, self._columns, self._packs, _OR_ELSE)
        return first_items(self._of_known_kinds(entries, left_out or LeftOut()), self._limit)

    def _of_known_kinds(self, entries: Iterator[Entry], left_out: LeftOut) -> Iterator[Entry]:
        named, unknown, first = {str(root) for root in self._roots}, 0, None
        for entry in entries:
            if entry.file in named and (start := self._start_of_unknown(entry)) is not None:
                unknown, first = unknown + 1, first or (entry, start)
                left_out.add(entry.path)
            else:
                yield entry
        if first and unknown == len(self._roots):  # else it is as in a folder: a shell names all files of one, also Thumbs.db
            raise self._of_no_kind(*first)

    def _start_of_unknown(self, entry: Entry) -> bytes | None:
        """Return how a file begins that has no suffix of files that are read, nor begins like one; None for others."""
        if suffix_of(entry.file) in (self.suffixes | set(self._packs)):
            return None
        with suppress(MediaError), open_file(entry.path) as file:  # what cannot be opened is a dead letter that says why
            start = file.read(LOOKED_AT)
            is_packed = entry.path.suffix.lower() in _UNPACK
            return start if is_packed or not any(is_of_a_kind(start, content.suffixes) for content in self._files) else None
        return None

    def _of_no_kind(self, entry: Entry, start: bytes) -> DatasetError:
        """Return the error for files of kinds that are not read. entry: the first of them. start: how it begins."""
        suffix = entry.path.suffix.lower()
        if suffix in _UNPACK:
            how = "; unpack it" + ("" if is_url(entry.file) else f": {_UNPACK[suffix]} {shlex.quote(entry.uri)}")
        elif suffix in self._remedies:
            how = f"; to read {suffix}: {self._remedies[suffix]}"
        elif ".csv" in self.suffixes and start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            how = f"; it {not_utf8(start, entry.path)}"
        else:
            how = ""
        taken = ", ".join(sorted(self.suffixes | set(self._packs)))
        return DatasetError(f"{entry.uri} is no file that the models take; they take files that end in {taken}{how}")

    @property
    def _remedies(self) -> dict[str, str]:
        return {suffix: how for content in self._files for suffix, how in content.more_suffixes.items()}

    @property
    def suffixes(self) -> frozenset[str]:
        """Return the suffixes of the files that are listed in a folder, in small letters."""
        suffixes = frozenset(suffix for content in self._files for suffix in content.suffixes)
        return suffixes | {suffix for suffix, pack in self._packs.items() if pack.in_folders}

    def source_of(self, relative: Path) -> str:
        """Return the source of a file by its path below the folder; items of a table may have others."""
        return self._rule.source_of(relative)

    def entries(self, folder: Path, relative: Path) -> Iterator[Entry]:
        """Yield what `list` yields of one file of a folder. relative: its path below the folder. Raises DatasetError."""
        return entries_of_file(folder / relative, relative, self._rule, None, self._columns, self._packs)

    def kinds(self, entry: Entry) -> tuple[str, ...]:
        """See Source."""
        pack = self._packs.get(suffix_of(entry.file))
        return tuple(content.name for content in (pack.contents(entry) if pack else contents_by_suffix(entry, self._files)))

    def is_one_row(self, entry: Entry) -> bool:
        """See Source."""
        contents = contents_by_suffix(entry, self._files) if self._is_object(entry) else ()
        return bool(contents) and all(issubclass(content, OneRow) for content in contents)

    def expect(self, entries: Sequence[Entry]) -> None:
        """See Source."""
        self._ahead.expect(
            (entry.path, StoreState(entry.size, entry.modified_ns)) for entry in entries if self._is_whole(entry)
        )

    def wait(self, entry: Entry) -> None:
        """See Source."""
        if self._is_whole(entry):
            self._ahead.wait(entry.path)

    def open(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """See Source."""
        for item, content in self._opened(entry):
            yield item, content.taking(self._channels)

    def _opened(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        if pack := self._packs.get(suffix_of(entry.file)):
            yield from pack.open(entry)
        elif contents := contents_by_suffix(entry, self._files):
            if is_url(entry.file):
                yield from self._object(entry, contents)
            else:
                yield from ((entry, content(entry.path)) for content in contents)
        else:
            raise MediaError(f"not a file of items that the models take ({', '.join(sorted(self._packs))})")

    def _is_whole(self, entry: Entry) -> bool:
        """Return whether the entry is an object that is read at once."""
        return entry.size <= WHOLE_BYTES and self._is_object(entry)

    def _is_object(self, entry: Entry) -> bool:
        """Return whether the entry is an object that is one item."""
        return is_url(entry.file) and entry.part is None and suffix_of(entry.file) not in self._packs

    def _object(self, entry: Entry, contents: Sequence[type[FileContent]]) -> Iterator[tuple[Entry, Content]]:
        if self._is_whole(entry):
            data = self._ahead.take(entry.path, StoreState(entry.size, entry.modified_ns))
            yield from ((entry, content(data)) for content in contents)
        else:
            for content in contents:
                with open_listed(entry) as file:
                    yield entry, content(file)
