"""Keep the largest files of each kind while a dataset is counted, to see what decoding them needs."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush, heapreplace
from itertools import count

from avizor_inference.items.dataset import Entry

_OF_EACH_KIND = 3


class LargestFiles:
    """Keeps some entries, by their size in bytes."""

    def __init__(self) -> None:
        self._heaps: dict[Sequence[str], list[tuple[int, int, Entry]]] = {}
        self._numbers = count()

    def add(self, kinds: tuple[str, ...], entry: Entry) -> None:
        """Take in an entry. kinds: what it is taken for."""
        heap = self._heaps.setdefault(kinds, [])
        if len(heap) < _OF_EACH_KIND:
            heappush(heap, (entry.size, next(self._numbers), entry))
        elif entry.size > heap[0][0]:
            heapreplace(heap, (entry.size, next(self._numbers), entry))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return the entries, the largest of each kind first."""
        return tuple(entry for heap in self._heaps.values() for _, _, entry in sorted(heap, reverse=True))
