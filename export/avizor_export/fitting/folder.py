"""List the items that a model is fitted to, and read those that are asked for. Nothing is kept but a list of what there is."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np

from avizor_inference.errors import DatasetError
from avizor_inference.items.data.folder_notes import Notes
from avizor_inference.items.data.item_files import ItemFiles, check_exists
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.dataset import Columns, Entry, first_items, is_listing
from avizor_inference.items.file_access import name_of
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.input_spec import KINDS, InputSpec
from avizor_inference.items.kinds.base import Content, ItemInput
from avizor_inference.items.path_lists import TABLE_SUFFIXES
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode

# Of a folder with more items so many are used, chosen by chance: the list of them is what memory holds.
MOST_ITEMS = 100_000
# Files by which the kind of a folder is told, and the share of them that may be of another kind, such as a table of notes.
_LOOKED_AT = 5000
_OTHER = 0.1
# Each file of a folder of CSV files is a signal if there are so many of them, and else a part of one table.
_FILES_OF_SIGNALS = 30
# The order in which kinds claim a suffix: a .wav file is a sound, unless a kind is given.
MODALITIES = ("image", "audio", "signal", "table")
WORDS = {"image": "images", "audio": "sound", "signal": "signals", "table": "tables"}


@dataclass(frozen=True)
class Where:
    """Says where items are, and how they are listed and read: see `read_recordings`."""

    path: Path
    rule: SourceRule = field(default_factory=SourceRule)
    columns: Columns = field(default_factory=Columns)
    channels: ChannelMode = "each"
    first: int | None = None

    @property
    def name(self) -> str:
        """Return the path for messages."""
        return name_of(str(self.path))

    @property
    def options(self) -> str:
        """Return how the items are named on a command line that reads them all: the path, and what says their sources."""
        words = [str(self.path)]
        for option, value in (
            ("--source-pattern", self.rule.pattern),
            ("--path-column", self.columns.path),
            ("--source-column", self.columns.source),
            ("--bytes-column", self.columns.bytes),
            ("--channels", "" if self.channels == "each" else str(self.channels)),
        ):
            words += [option, value] if value else []
        return shlex.join(words)


def modality_of(where: Where) -> str:
    """Return the kind of the items in a folder, by the suffixes of the files: image, audio, signal or table.

    Raises DatasetError if there are none, or two kinds of them.
    """
    check_exists(where.path)
    suffix = where.path.suffix.lower()
    contents = filter(None, (kind.file_content() for kind in KINDS.values()))
    if where.path.is_file() and suffix not in TABLE_SUFFIXES and any(suffix in content.suffixes for content in contents):
        raise _one_file(where)
    if suffix in TABLE_SUFFIXES and not (where.columns.path or where.columns.bytes):
        return "table"
    if where.columns.bytes:
        raise DatasetError(f"{where.name}: --bytes-column holds files of any kind; say which with --kind")
    counts = Counter[str]()
    left_out, remedies = LeftOut(), dict[str, str]()
    for modality in MODALITIES:
        files = ItemFiles(KINDS[modality], where.columns, where.channels, ())
        if not files.holds(where.path):
            continue
        claimed = _suffixes_before(modality)
        left_out = LeftOut()
        entries = files.list(where.path, where.rule, left_out)
        remedies |= left_out.remedies
        named = (Path(entry.uri.partition("#")[2] or entry.uri) for entry in first_items(entries, _LOOKED_AT))
        counts[modality] = sum(path.suffix.lower() not in claimed for path in named)
    left_out.remedies = remedies
    return _one_kind(where, counts, left_out)


def _one_file(where: Where) -> DatasetError:
    return DatasetError(f"{where.name} is one file; give a folder of normal items, or a table of them")


def _suffixes_before(modality: str) -> frozenset[str]:
    """Return the suffixes that kinds before this one claim."""
    before = MODALITIES[: MODALITIES.index(modality)]
    contents = [content for kind in before if kind != "signal" and (content := KINDS[kind].file_content())]
    return frozenset[str]().union(*(content.suffixes for content in contents))


def _one_kind(where: Where, counts: Counter[str], left_out: LeftOut) -> str:
    if counts["table"]:  # CSV files are either
        loser = "table" if counts["signal"] >= _FILES_OF_SIGNALS else "signal"
        counts[loser] = 0
    found = [(modality, count) for modality, count in counts.most_common() if count]
    if not found:
        kinds = ", ".join(WORDS.values())
        there = f" (left out: {left_out})" if left_out.counts else ""
        raise DatasetError(
            f"{where.name} holds no files of the kinds that are read ({kinds}){there}; docs/files.md names the formats"
        )
    (modality, count), *others = found
    if others and others[0][1] > _OTHER * count:
        mixture = " and ".join(f"{number} of {WORDS[each]}" for each, number in found)
        raise DatasetError(f"{where.name} holds files of several kinds, {mixture}; one model takes one of them: give --kind")
    return modality


class NormalItems:
    """Lists the items at a place, and reads those with the numbers that are asked for.

    row_columns: of tables, those that are read. sources: of each item, by its number. listed: how many items there are, of
    which at most MOST_ITEMS are here, chosen by chance with the seed. without: names of items that are left out of those; what
    was left out so far has the same name.
    told: numbers of those that cannot be read, of which a user was told.
    """

    def __init__(
        self,
        where: Where,
        kind: InputSpec | type[ItemInput],
        row_columns: Sequence[str] | None = None,
        seed: int = 0,
        without: Collection[str] = (),
    ) -> None:
        self.where = where
        self.row_columns = frozenset(row_columns or ())
        self._files = ItemFiles(kind, where.columns, where.channels, row_columns)
        if not (is_listing(where.path) or self._files.holds(where.path)):
            raise _one_file(where)
        self.left_out = LeftOut()
        self.notes = Notes(self.left_out)
        self.listed = 0
        self._places: list[tuple[Entry, int]] = []
        self.sources: list[str] = []
        self.without: tuple[str, ...] = ()
        self.told = set[int]()
        self._list(np.random.default_rng(seed))
        if without:
            self.leave_out([number for number in range(len(self)) if self.name(number) in without])

    def _list(self, rng: np.random.Generator) -> None:
        """Keep a random MOST_ITEMS of the items (reservoir sampling), in the order of the list."""
        kept: dict[int, tuple[int, Entry, int, str]] = {}
        for entry in first_items(self._files.list(self.where.path, self.where.rule, self.left_out), self.where.first):
            for number, source in enumerate(self._sources_of(entry)):
                place = self.listed if self.listed < MOST_ITEMS else int(rng.integers(self.listed + 1))
                if place < MOST_ITEMS:
                    kept[place] = (self.listed, entry, number, source)
                self.listed += 1
        for _, entry, number, source in sorted(kept.values(), key=lambda each: each[0]):
            self._places.append((entry, number))
            self.sources.append(source)

    def _sources_of(self, entry: Entry) -> Iterator[str]:
        """Yield the source of each item of an entry; those in a column of a table are read."""
        if entry.items > 1 and self.where.columns.source:
            yield from (each.source for each, _ in self._files.contents(entry))
        else:
            yield from (entry.source for _ in range(entry.items))

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def by_source(self) -> Counter[str]:
        """Return the number of items of each source."""
        return Counter(self.sources)

    def files(self) -> Mapping[str, tuple[Entry, int]]:
        """Return the files that hold many items, such as tables, by name: an entry of each, and how many items it gave."""
        found: dict[str, tuple[Entry, int]] = {}
        for entry, _ in self._places:
            if self._files.is_of_many(entry):
                found[entry.file_uri] = (entry, found.get(entry.file_uri, (entry, 0))[1] + 1)
        begin = f"{self.where.name}/"
        return {uri.removeprefix(begin): each for uri, each in found.items()}

    def name(self, number: int) -> str:
        """Return what an item is called in messages."""
        entry, place = self._places[number]
        return entry.uri if entry.items == 1 else entry.item(place).uri

    def part(self, number: int) -> str:
        """Return what is opened to read an item, for messages: its file, or a part of a file of many."""
        return self._places[number][0].uri

    def together(self, numbers: Sequence[int]) -> list[int]:
        """Return the first of these numbers, and those after it whose items are read from the same part of a file."""
        part = self._places[numbers[0]][0]
        return list(takewhile(lambda number: self._places[number][0] is part, numbers))

    def is_file_of_many(self, number: int) -> bool:
        """Return whether an item stands for a whole file of many, such as a table, which could not be listed."""
        entry, _ = self._places[number]
        return entry.part is None and self._files.is_of_many(entry)

    def leave_out(self, numbers: Collection[int]) -> None:
        """Take the items of these numbers off the list: the others are numbered as if those had not been there."""
        self.without += tuple(self.name(number) for number in sorted(numbers))
        left = sorted(set(range(len(self))) - set(numbers))
        self._places, self.sources = [self._places[number] for number in left], [self.sources[number] for number in left]
        self.listed -= len(numbers)
        self.told.clear()
        self.__dict__.pop("by_source", None)

    def in_reading_order(self, numbers: Sequence[int]) -> list[int]:
        """Return these numbers in the order in which `contents` yields the items: those of one file together."""
        order: dict[int, list[tuple[int, int]]] = {}
        for number in numbers:
            entry, place = self._places[number]
            order.setdefault(id(entry), []).append((place, number))
        return [number for places in order.values() for _, number in sorted(places)]

    def contents(self, numbers: Sequence[int]) -> Iterator[tuple[int, Entry, Content]]:
        """Yield the items of these numbers as they come; those of one file together, which is opened once.

        Raises DatasetError.
        """
        wanted: dict[int, dict[int, int]] = {}
        for number in numbers:
            entry, place = self._places[number]
            wanted.setdefault(id(entry), {})[place] = number
        entries = {id(self._places[number][0]): self._places[number][0] for number in numbers}
        for key, places in wanted.items():
            last = max(places)
            for place, (each, content) in enumerate(self._files.contents(entries[key])):
                if place in places:
                    yield places[place], each, content
                if place == last:
                    break

    def recording(self, entry: Entry, content: Content, spec: InputSpec) -> NormalRecording:
        """Return an item, as `contents` yields it, as a model sees it. Raises DatasetError."""
        return self._files.recording(entry, content, spec, self.notes)

    def recordings(self, numbers: Sequence[int], spec: InputSpec) -> Iterator[NormalRecording]:
        """Yield the items of these numbers as a model sees them, one in memory at a time. Raises DatasetError."""
        for number, entry, content in self.contents(numbers):
            yield replace(self.recording(entry, content, spec), source=self.sources[number])
