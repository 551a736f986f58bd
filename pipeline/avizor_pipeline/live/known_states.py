"""Remember the size and the time of change of each file that was planned, in 24 bytes each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from avizor_inference.items.seen_keys import place_of_key
from avizor_pipeline.sinks.rounds import States

# So many files are collected before they are sorted in: each takes ten times as much meanwhile.
_COLLECTED = 256

# Size in bytes, and time of change in nanoseconds since 1970.
State = tuple[int, int]


class KnownStates:
    """Maps `rounds.key_of` of a file to its state. Of a file that is added again the last state counts."""

    def __init__(self, rounds: Iterable[States] = ()) -> None:
        self._keys: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._states: NDArray[np.int64] = np.empty((0, 2), np.int64)
        self._collected: dict[int, State] = {}
        for states in rounds:
            self._sort_in(states.keys, np.column_stack([states.sizes, states.times]))

    def __len__(self) -> int:
        return len(self._keys) + len(self._collected)

    def get(self, key: int) -> State | None:
        """Return the state of a file; None if it is not known."""
        if state := self._collected.get(key):
            return state
        place = place_of_key(self._keys, key)
        return None if place is None else (int(self._states[place, 0]), int(self._states[place, 1]))

    def add(self, key: int, state: State) -> None:
        """Take in a file."""
        self._collected[key] = state
        if len(self._collected) >= _COLLECTED:
            keys = np.fromiter(self._collected, np.uint64)
            self._sort_in(keys, np.array(list(self._collected.values()), np.int64))
            self._collected.clear()

    def _sort_in(self, keys: NDArray[np.uint64], states: NDArray[np.int64]) -> None:
        keys, states = np.concatenate([self._keys, keys]), np.concatenate([self._states, states])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        self._keys, self._states = keys[last], states[order[last]]
