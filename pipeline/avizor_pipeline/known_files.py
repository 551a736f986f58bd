"""Know the files of earlier rounds again, in 28 bytes for each: millions of names would not fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avizor_inference.items.dataset import Entry
from avizor_inference.items.seen_keys import SeenKeys, place_of_key
from avizor_pipeline.sinks.rounds import States, key_of

T = TypeVar("T", np.uint64, np.int64)

# Names that a message holds.
_NAMES_SHOWN = 10


class Found(Enum):
    """Says what is known of a file that is listed. AGAIN: this listing had it already, maybe spelt otherwise."""

    NEW = auto()
    SAME = auto()
    CHANGED = auto()
    AGAIN = auto()


@dataclass
class Names:
    """Counts files, and keeps the first names for a message."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count a file."""
        self.count += 1
        if len(self.shown) < _NAMES_SHOWN:
            self.shown.append(name)

    def __str__(self) -> str:
        more = self.count - len(self.shown)
        return ", ".join(self.shown) + (f", and {more} more" if more else "")


@dataclass
class Changes:
    """Holds how the dataset differs from what earlier rounds have planned.

    new: number of items: of a table its rows. gone: files that are not there any more. unlisted: files that the dataset does
    not list any more, and that are there, or of which this is not known: their store does not say it, or they are too many to
    ask for.
    """

    new: int = 0
    changed: Names = field(default_factory=Names)
    gone: Names = field(default_factory=Names)
    unlisted: Names = field(default_factory=Names)


class KnownFiles:
    """Remembers the files of earlier rounds, and those that a listing has had. rounds: the first round first."""

    def __init__(self, rounds: Sequence[States]) -> None:
        keys = _joined([states.keys for states in rounds], np.uint64)
        numbers = np.repeat(np.arange(1, len(rounds) + 1, dtype=np.uint32), [len(states.keys) for states in rounds])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        # Of files that several rounds have, the last round counts.
        last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        kept = order[last]
        self._keys, self._rounds = keys[last], numbers[kept]
        self._sizes = _joined([states.sizes for states in rounds], np.int64)[kept]
        self._times = _joined([states.times for states in rounds], np.int64)[kept]
        self._seen = np.zeros(len(self._keys), np.bool_)
        self._new = SeenKeys()
        repeated = np.unique(keys[~last])
        self.moved: dict[int, int] = {
            int(key): int(number)
            for key, number in zip(repeated, self._rounds[np.searchsorted(self._keys, repeated)], strict=True)
        }

    def look(self, entry: Entry) -> Found:
        """Say whether a listed file is known, by its path, size and time of change."""
        key = key_of(entry)
        place = place_of_key(self._keys, key)
        if place is None:
            return Found.NEW if self._new.add(key) else Found.AGAIN
        if self._seen[place]:
            return Found.AGAIN
        self._seen[place] = True
        same = (self._sizes[place], self._times[place]) == (entry.size, entry.modified_ns)
        return Found.SAME if same else Found.CHANGED

    @property
    def unseen(self) -> int:
        """Return how many files of earlier rounds the listing did not have."""
        return int(np.count_nonzero(~self._seen))

    def is_unseen(self, entry: Entry, number: int) -> bool:
        """Return whether this is the last round with the file, and the listing did not have it."""
        place = place_of_key(self._keys, key_of(entry))
        return place is not None and not self._seen[place] and self._rounds[place] == number


def _joined(columns: list[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    """Return one array of all; the same if there is one, as a copy may be large."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns or [np.empty(0, dtype)])
