"""Divide recordings among training, stopping and calibration, or into folds, by chance and within each source.

A recording goes to one part as a whole: windows of one recording resemble each other, and would make a model look better than
it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avizor_inference.anomaly.confidence import items_needed_on_average

STOPPING = 0.1  # of the recordings; of each source
CALIBRATION = 0.3
# A source gets so many recordings for its calibration, from which alpha 0.05 is promised, if that is no more than this share.
FEWEST = items_needed_on_average(0.05) + 1
LARGEST_CALIBRATION = 0.4
# More normal scores make p-values hardly any better, and each one is kept in the calibration.
MOST_CALIBRATION = 5000
# Sources with fewer recordings are divided together: no share of one is a whole recording.
_SMALL = 5


@dataclass(frozen=True)
class Parts:
    """Holds the numbers of the recordings of each part, sorted. stopping: ends the training, and brings scores to one scale."""

    training: tuple[int, ...]
    stopping: tuple[int, ...]
    calibration: tuple[int, ...]


@dataclass(frozen=True)
class Folds:
    """Holds the numbers of the recordings of each fold, sorted. Each source has equally many in each fold.

    rest: those that are left; they are in the training of every fold, and not in the calibration.
    """

    folds: tuple[tuple[int, ...], ...]
    rest: tuple[int, ...]

    def all(self) -> tuple[int, ...]:
        """Return the numbers of the recordings of all folds, sorted."""
        return tuple(sorted(number for numbers in self.folds for number in numbers))

    def outside(self, fold: int) -> tuple[int, ...]:
        """Return the numbers of all recordings that are not in a fold, sorted."""
        others = (number for place, numbers in enumerate(self.folds) if place != fold for number in numbers)
        return tuple(sorted([*others, *self.rest]))


def split_items(sources: Sequence[str], seed: int = 0, calibration: float | None = None) -> Parts:
    """Divide recordings, each source for itself: about 60 % training, 10 % stopping and 30 % calibration.

    sources: of each recording. calibration: the share of it; None for CALIBRATION, and more of a small source.
    """
    training, stopping, held = list[int](), list[int](), list[int]()
    for numbers in _strata(sources, _SMALL, seed):
        count = held_of(len(numbers), calibration)
        stop = max(1, round(STOPPING * len(numbers))) if len(numbers) - count > 2 else 0
        held += numbers[:count]
        stopping += numbers[count : count + stop]
        training += numbers[count + stop :]
    if not stopping:
        stopping, training = training[:1], training[1:]
    if len(held) > MOST_CALIBRATION:
        held = np.random.default_rng(seed).permutation(held)[:MOST_CALIBRATION].tolist()
    return Parts(*(tuple(sorted(part)) for part in (training, stopping, held)))


def held_of(count: int, calibration: float | None = None) -> int:
    """Return how many of the recordings of a source are for the calibration."""
    if calibration is not None:
        return max(1, round(calibration * count))
    return max(round(CALIBRATION * count), min(FEWEST, round(LARGEST_CALIBRATION * count)))


def fold_items(sources: Sequence[str], folds: int, seed: int = 0) -> Folds:
    """Divide recordings into so many folds, each source equally; sources with fewer recordings than folds count as one."""
    parts: list[list[int]] = [[] for _ in range(folds)]
    rest: list[int] = []
    for numbers in _strata(sources, folds, seed):
        each = len(numbers) // folds
        for place, part in enumerate(parts):
            part += numbers[place * each : (place + 1) * each]
        rest += numbers[folds * each :]
    return Folds(tuple(tuple(sorted(part)) for part in parts), tuple(sorted(rest)))


def stopping_of(numbers: Sequence[int], sources: Sequence[str], seed: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide the training recordings of a fold: those that are trained on, and those that end the training."""
    training, stopping = list[int](), list[int]()
    for places in _shuffled([sources[number] for number in numbers], seed):
        count = round(STOPPING * len(places))
        stopping += [numbers[place] for place in places[:count]]
        training += [numbers[place] for place in places[count:]]
    if not stopping:
        stopping, training = training[:1], training[1:]
    return tuple(sorted(training)), tuple(sorted(stopping))


def _strata(sources: Sequence[str], least: int, seed: int) -> Iterator[list[int]]:
    """Yield the numbers of the recordings of each source; together those of sources with fewer than `least`."""
    small = list[int]()
    for numbers in _shuffled(sources, seed):
        if len(numbers) < least:
            small += numbers
        else:
            yield numbers
    if small:
        yield np.random.default_rng(seed).permutation(small).tolist()


def _shuffled(sources: Sequence[str], seed: int) -> Iterator[list[int]]:
    """Yield the numbers of the recordings of each source, in an order by chance."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for number in np.random.default_rng(seed).permutation(len(sources)).tolist():
        by_source[sources[number]].append(number)
    yield from (by_source[source] for source in sorted(by_source))
