"""Divide items into those that train, those that end the training, and those that measure: each class in the same shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Shares of each class's items, and how many are enough: more would only be lost to the training.
MEASURING, MOST_MEASURING = 0.2, 2000
STOPPING, MOST_STOPPING = 0.1, 1000


@dataclass(frozen=True)
class Parts:
    """Holds the places of items, int64 each. Each class is in `training` and in `measuring`.

    No place is in two of them, unless each class has two items alone: then those that train end the training too.
    """

    training: NDArray[np.int64]
    stopping: NDArray[np.int64]
    measuring: NDArray[np.int64]


def divide(classes: NDArray[np.int64], groups: NDArray[np.int64], seed: int, known: NDArray[np.int64] | None = None) -> Parts:
    """Divide items at random, class by class. Items of one group, such as equal ones, stay together.

    classes, groups: int64[items]; all items of a group are of one class. A class of two groups has one to train and one to
    measure; the training then ends by what the other classes say. known: groups that a network has trained with already: they
    train, and a class may have no others. Raises ValueError for a class of one group, or if all groups are known.
    """
    random = np.random.default_rng(seed)
    share = min(MEASURING, MOST_MEASURING / len(classes)), min(STOPPING, MOST_STOPPING / len(classes))
    training, stopping, measuring = list[int](), list[int](), list[int]()
    for each in np.unique(classes):
        own = np.unique(groups[classes == each])
        if len(own) < 2:
            raise ValueError(f"class {each} has one item")
        old = np.isin(own, [] if known is None else known)
        fresh = random.permutation(own[~old])
        to_measure = min(len(fresh), max(1, round(share[0] * len(fresh))))
        least = 0 if old.any() else 1  # to train with
        to_stop = max(0, min(max(1, round(share[1] * len(fresh))), len(fresh) - to_measure - least))
        ends = [to_measure, to_measure + to_stop]
        for part, members in zip((measuring, stopping, training), np.split(fresh, ends), strict=True):
            part.extend(members.tolist())
        training.extend(own[old].tolist())
    if not measuring:
        raise ValueError("all items have trained already")
    return Parts(*(np.flatnonzero(np.isin(groups, each)) for each in (training, stopping or training, measuring)))
