"""Remember which of millions of things were seen, in a few bytes each: their names would not fit in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# So many keys are collected before they are sorted in.
_COLLECTED = 65536


class SeenKeys:
    """Collects keys of 64 bits: 8 bytes each, and 8 more while they are sorted in. A hash will do as a key."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._collected: set[int] = set()

    def add(self, key: int) -> bool:
        """Take in a key, of which the lower 64 bits count; return whether it was not there yet."""
        key &= 2**64 - 1
        if key in self._collected or place_of_key(self._sorted, key) is not None:
            return False
        self._collected.add(key)
        if len(self._collected) >= max(_COLLECTED, len(self._sorted) // 16):
            self._sorted = np.concatenate([self._sorted, np.fromiter(self._collected, np.uint64)])
            self._sorted.sort()
            self._collected.clear()
        return True


def place_of_key(keys: NDArray[np.uint64], key: int) -> int | None:
    """Return where a key is among sorted keys, uint64[n]; None if it is not among them."""
    if not len(keys):
        return None
    place = int(keys.searchsorted(np.uint64(key)))
    return place if place < len(keys) and keys[place] == key else None
