"""From the class probabilities of an item's windows to its classes: the mean over the windows, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from avizor_inference.arrays import Array, Floats


class ClassProbability(NamedTuple):
    """A class and its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class MeanProbabilities:
    """The mean over the windows seen so far, whatever their number. Parts of an item are added up with `+`.

    windows: their number. total: sum of their probabilities, float64[classes].
    """

    windows: int = 0
    total: Floats = field(default_factory=lambda: np.zeros(()))

    @classmethod
    def of(cls, probabilities: Array) -> MeanProbabilities:
        """The summary of windows with these probabilities: float[windows, classes]."""
        return cls(len(probabilities), probabilities.sum(axis=0, dtype=np.float64))

    def __add__(self, other: MeanProbabilities) -> MeanProbabilities:
        """Return the summary of both parts together."""
        return MeanProbabilities(self.windows + other.windows, self.total + other.total)

    @property
    def value(self) -> Floats:
        """Mean probability of each class: float64[classes]. At least one window is needed."""
        if not self.windows:
            raise ValueError("an item without windows has no class")
        return np.asarray(self.total / self.windows)


def top_k(probabilities: Array, labels: Sequence[str], k: int) -> list[ClassProbability]:
    """Return the k most probable classes, best first; of equal ones the first. probabilities: float[classes]."""
    best = np.argsort(-probabilities, kind="stable")[:k]
    return [ClassProbability(labels[index], float(probabilities[index])) for index in best]
