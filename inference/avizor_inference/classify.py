"""Combine the class probabilities of an item's windows into their mean, and select the classes to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from avizor_inference.arrays import Array, Floats


class ClassProbability(NamedTuple):
    """Holds the label of a class and its probability, 0 to 1.

    is_over_threshold: whether the probability is at or over the class's threshold; False where the model has no thresholds.
    """

    label: str
    probability: float
    is_over_threshold: bool = False


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
        if len(probabilities) == 1:  # most items of a job with millions
            return cls(1, probabilities[0].astype(np.float64))
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


def top_k(probabilities: Array, labels: Sequence[str], k: int, thresholds: Sequence[float] = ()) -> list[ClassProbability]:
    """Return the k most probable classes, the most probable first; ties keep the order of the labels.

    probabilities: float[classes]. labels: one for each class. thresholds: one for each class of a multi-label model; empty for
    any other.
    """
    best = np.argsort(-probabilities, kind="stable")[:k].tolist()
    if not thresholds:
        return [ClassProbability(labels[index], float(probabilities[index])) for index in best]
    over = _over(probabilities, thresholds)
    return [ClassProbability(labels[index], float(probabilities[index]), bool(over[index])) for index in best]


def present_classes(probabilities: Array, labels: Sequence[str], thresholds: Sequence[float]) -> list[ClassProbability]:
    """Return all classes whose probability is at or over their threshold, the most probable first; there may be none.

    probabilities: float[classes]. labels, thresholds: one for each class.
    """
    return [each for each in top_k(probabilities, labels, len(labels), thresholds) if each.is_over_threshold]


def _over(probabilities: Array, thresholds: Sequence[float]) -> Array:
    """Return which probabilities are at or over their threshold, bool[classes].

    Both are compared in float32, in which they are sent: 0.7 in a threshold is then 0.7 in a probability.
    """
    return np.asarray(probabilities.astype(np.float32) >= np.asarray(thresholds, np.float32))
