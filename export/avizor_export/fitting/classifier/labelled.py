"""Read items with their classes, in memory that does not grow with the folder, and refuse what no classifier can learn from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.unreadable import Unreadable
from avizor_inference.arrays import Items
from avizor_inference.errors import DatasetError
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import DEFAULT_SOURCE

_log = logging.getLogger(__name__)

MOST_BYTES = 2**29  # of all raw rows, which are kept
MOST_WINDOWS = 32  # of one recording: evenly spaced ones stand for a long one
_LEAST_OF_A_CLASS = 20  # items that are read first, so that no class is lost where not all items fit into memory
_NAMED = 3

HOW_TO_SORT = (
    "with --labels each item needs a class: put the items of each class into a folder of its name, give --source-pattern where "
    "names of files tell the class, or --source-column for a column of a table"
)


@dataclass(frozen=True)
class Labelled:
    """Holds items with their classes.

    labels: of the classes, sorted. rows: [n, *item_shape] raw. recordings: int64[n], the item of each row, from 0 on.
    classes: int64[items]. groups: int64[items], a digest of each item: equal items are of one group.
    """

    labels: tuple[str, ...]
    rows: Items
    recordings: NDArray[np.int64]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of items of each class."""
        counts = np.bincount(self.classes, minlength=len(self.labels)).tolist()
        return dict(zip(self.labels, counts, strict=True))

    def of(self, items: NDArray[np.int64]) -> tuple[Items, NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of these items, the class of each row, and its item, numbered anew from 0 on."""
        number = np.full(len(self.classes), -1)
        number[items] = np.arange(len(items))
        chosen = number[self.recordings] >= 0
        recordings = self.recordings[chosen]
        return self.rows[chosen], self.classes[recordings], number[recordings]


def read_labelled(items: NormalItems, spec: InputSpec, seed: int = 0, labels: Sequence[str] | None = None) -> Labelled:
    """Read items whose sources are their classes. labels: of the classes, if they are known already.

    Items that cannot be read are left out, and a warning names them; so are items that are equal to one of another class. Of
    more than MOST_BYTES a random choice is read. Raises DatasetError if too many cannot be read, or if there are no two classes
    to tell apart.
    """
    check_classes(items)
    reading, unreadable = _Reading(items.where.name), Unreadable(items)
    numbers = _order(items, seed)
    for number, recording in unreadable.numbered(numbers, spec):
        reading.add(number, recording)
        if reading.size >= MOST_BYTES:
            break
    unreadable.refuse_many()
    unreadable.warn()
    if (count := len(reading.numbers)) + unreadable.count < len(numbers):
        _log.warning("%d of %d items are used: all would be more than %d MiB in memory", count, len(numbers), MOST_BYTES >> 20)
    return reading.labelled(items, labels)


def check_classes(items: NormalItems) -> None:
    """Raise DatasetError if the sources of the items are no classes; warn of items that have none."""
    where, classes = items.where.name, [name for name in items.by_source if name != DEFAULT_SOURCE]
    if not classes:
        raise DatasetError(f"{where} has {len(items)} items, and none of them has a class; {HOW_TO_SORT}")
    if homeless := items.by_source[DEFAULT_SOURCE]:
        first = ", ".join(items.name(number) for number, name in enumerate(items.sources) if name == DEFAULT_SOURCE)[:200]
        _log.warning("%s: %d items are in no folder of a class, and are left out: %s", where, homeless, first)
    if {name.lower() for name in classes} <= {"train", "training", "test", "val", "valid", "validation"}:
        raise DatasetError(
            f"{where}: {' and '.join(sorted(classes))} are parts of a data set, and no classes; give one of these folders, or "
            "--source-pattern '[^/]+/([^/]+)/' if the folders in them are the classes"
        )
    if len(classes) > 1 and len(classes) * 2 > len(items):
        raise DatasetError(
            f"{where} has {len(classes)} classes for {len(items)} items; folders or names that belong to one item are no "
            f"classes; {HOW_TO_SORT}"
        )


def _order(items: NormalItems, seed: int) -> list[int]:
    """Return the numbers of the items with a class, in a random order in which each class comes as often as it is frequent."""
    keys = np.zeros(len(items))
    sources, random = np.array(items.sources), np.random.default_rng(seed)
    for name, count in sorted(items.by_source.items()):
        ranks = random.permutation(count)
        keys[sources == name] = np.where(ranks < _LEAST_OF_A_CLASS, 0.0, ranks / count)
    with_class = np.flatnonzero(sources != DEFAULT_SOURCE)
    order: list[int] = with_class[np.argsort(keys[with_class], kind="stable")].tolist()
    return order


@dataclass
class _Reading:
    """Collects what is read."""

    where: str
    numbers: list[int] = field(default_factory=list)
    parts: list[Items] = field(default_factory=list)
    size: int = 0

    def add(self, number: int, recording: NormalRecording) -> None:
        windows = recording.windows[evenly_spaced(len(recording.windows), MOST_WINDOWS)]
        self.numbers.append(number)
        self.parts.append(windows)
        self.size += windows.nbytes

    def labelled(self, items: NormalItems, labels: Sequence[str] | None) -> Labelled:
        """Return what was read, in the order of the list."""
        order = np.argsort(self.numbers)
        numbers, parts = [self.numbers[place] for place in order], [self.parts[place] for place in order]
        names = [items.sources[number] for number in numbers]
        digests = [sha256(part.tobytes()).digest() for part in parts]
        kept = self._without_contradictions([items.name(number) for number in numbers], names, digests)
        names, parts, digests = ([own[place] for place in kept] for own in (names, parts, digests))
        _check_items(self.where, names, digests)
        known = tuple(labels) if labels is not None else tuple(sorted(set(names)))
        place_of = {label: place for place, label in enumerate(known)}
        return Labelled(
            known,
            np.concatenate(parts),
            np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            np.array([place_of[name] for name in names], dtype=np.int64),
            np.array([int.from_bytes(digest[:8], "little", signed=True) for digest in digests], dtype=np.int64),
        )

    def _without_contradictions(self, uris: Sequence[str], names: Sequence[str], digests: Sequence[bytes]) -> list[int]:
        """Return the places of the items that are equal to none of another class."""
        classes_of: dict[bytes, set[str]] = {}
        for digest, name in zip(digests, names, strict=True):
            classes_of.setdefault(digest, set()).add(name)
        wrong = [place for place, digest in enumerate(digests) if len(classes_of[digest]) > 1]
        if wrong:
            named = ", ".join(uris[place] for place in wrong[:_NAMED])
            _log.warning(
                "%s: %d items are equal to one of another class, and are left out: %s; put each into its right class",
                self.where, len(wrong), named,
            )  # fmt: skip
        return sorted(set(range(len(digests))) - set(wrong))


def _check_items(where: str, names: Sequence[str], digests: Sequence[bytes]) -> None:
    """Raise DatasetError unless there are two classes, each with two items that differ."""
    items, different = Counter(names), Counter(name for name, _ in set(zip(names, digests, strict=True)))
    if len(items) < 2:
        known = f"one class, {next(iter(items))!r}" if items else "no items that differ from those of another class"
        raise DatasetError(
            f"{where} has {known}, and a classifier tells at least two apart; {HOW_TO_SORT}; of normal items alone a detector "
            "learns what is normal: leave out --labels"
        )
    if alone := sorted(name for name in items if different[name] < 2):
        name = alone[0]
        what = "one item" if items[name] == 1 else f"{items[name]} items that are all equal"
        more = f" (and {len(alone) - 1} more classes)" if len(alone) > 1 else ""
        raise DatasetError(
            f"{where}: class {name!r}{more} has {what}: one has to train and another one to measure; add items, or take the "
            "class out"
        )
