"""Combine the scores of an item's windows into the score of the item, which is compared with a calibration.

The score of an item is the power mean of order 8 of the scores of all its windows, of all its channels:

    (mean of score^8)^(1/8)

It is a fixed function of *all* windows, the same for calibration and test. This is what makes a rank among the calibration's
items a p-value, whatever the lengths of the recordings (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world",
2005). Its value is between the mean, which does not notice one unusual window in a hundred, and the largest score, which grows
with the length of a recording, so that unusual short recordings are hidden by long ones. Order 8 was chosen because it detects
most in measurements: docs/decisions/0015.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isinf, isnan

import numpy as np
from numpy.typing import NDArray

ORDER = 8


@dataclass(frozen=True)
class ItemScore:
    """Summarises the windows seen so far in three numbers, however many they are. Summaries of parts are added with `+`.

    windows: their number. largest: the largest score. powers: sum over the windows of (score / largest)^8; 0 if all scores are
    0, or if one is infinite. The sum is relative to the largest score, so that no power leaves the range of float64.
    """

    windows: int = 0
    largest: float = 0.0
    powers: float = 0.0

    @classmethod
    def of(cls, scores: NDArray[np.floating]) -> ItemScore:
        """Summarise windows with these scores: float[n], >= 0. If one is infinite or NaN, the score of the item is infinite."""
        if len(scores) == 1 and 0 < (score := float(scores[0])) < inf:  # most items of a job with millions
            return cls(1, score, 1.0)
        largest = float(scores.max(initial=0.0))
        if isnan(largest):  # numpy's max is NaN if one of the scores is
            largest = inf
        if largest == 0 or isinf(largest):
            return cls(len(scores), largest, 0.0)
        return cls(len(scores), largest, float(np.sum((scores.astype(np.float64) / largest) ** ORDER)))

    def __add__(self, other: ItemScore) -> ItemScore:
        """Return the summary of both parts together."""
        if not self.windows:
            return other
        largest = max(self.largest, other.largest)
        if largest == 0 or isinf(largest):
            return ItemScore(self.windows + other.windows, largest, 0.0)
        powers = sum(part.powers * (part.largest / largest) ** ORDER for part in (self, other))
        return ItemScore(self.windows + other.windows, largest, powers)

    @property
    def value(self) -> float:
        """Return the score of the item, >= 0: the power mean over its windows; with one window, the score of that window.

        It is rounded to float32, like the scores, so that the order in which parts are added makes practically no difference.
        Raises ValueError if the item has no windows.
        """
        if not self.windows:
            raise ValueError("an item without windows has no score")
        if self.largest == 0 or isinf(self.largest):
            return self.largest
        return float(np.float32(self.largest * (self.powers / self.windows) ** (1 / ORDER)))


def item_scores(items: Iterable[Sequence[float]]) -> list[float]:
    """Return the score of each item. items: the scores of the windows of each, >= 0."""
    return [ItemScore.of(np.array(windows)).value for windows in items]
