"""Combine the class probabilities of an item's windows into their mean, and select the most probable classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from avizor_inference.arrays import Array, Floats


class ClassProbability(NamedTuple):
    """Holds the label of a class and its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class MeanProbabilities:
    """Summarises the windows seen so far, however many they are, for their mean. Summaries of parts are added with `+`.

    windows: their number. total: sum of their probabilities, float64[classes].
    """

    windows: int = 0
    total: Floats = field(default_factory=lambda: np.zeros(()))

    @classmethod
    def of(cls, probabilities: Array) -> MeanProbabilities:
        """Summarise windows with these probabilities: float[windows, classes]."""
        return cls(len(probabilities), probabilities.sum(axis=0, dtype=np.float64))

    def __add__(self, other: MeanProbabilities) -> MeanProbabilities:
        """Return the summary of both parts together."""
        return MeanProbabilities(self.windows + other.windows, self.total + other.total)

    @property
    def value(self) -> Floats:
        """Return the mean probability of each class, float64[classes]. Raises ValueError if there are no windows."""
        if not self.windows:
            raise ValueError("an item without windows has no class")
        return np.asarray(self.total / self.windows)


def top_k(probabilities: Array, labels: Sequence[str], k: int) -> list[ClassProbability]:
    """Return the k most probable classes, the most probable first; ties keep the order of the labels.

    probabilities: float[classes]. labels: one for each class.
    """
    best = np.argsort(-probabilities, kind="stable")[:k]
    return [ClassProbability(labels[index], float(probabilities[index])) for index in best]
