"""Tell whether two engines agree on the scores of a model well enough for one to use the other's calibration.

Scores of one engine that are a little larger than the other's would flag more than alpha of the normal items. So, if scores
differ by more than rounding, all differences that are allowed count as ties. Then a p-value can only be too large, and the
promise holds whatever the distribution of the scores. The price is that less is found; to keep it small, the allowed
difference is a small share of how far apart the scores of normal items are:

    |root(actual) - root(expected)| / max(root(expected), median)  <=  SHARE * (third quartile - first quartile) / median

for every probe item. Roots, as in decision 13: the score is a mean of squares, and its root is in the unit of the values.
Quartiles and median are those of the roots of the scores of the calibration's items from one source. Of several sources the
one with the smallest quotient is taken, since it notices a difference most. Below the median a difference is absolute, because
a score near 0 is mostly rounding, and no such item is flagged at any alpha below a half; above the median it is relative.
docs/p-values.md has the effect as measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np

from avizor_inference.anomaly.item_score import item_scores
from avizor_inference.anomaly.p_values import TIE
from avizor_inference.repository.calibration import Calibration, Scores

# Of the spread of normal scores that a difference may have.
SHARE = 0.01
# Fewer items of one source do not tell a spread.
LEAST_ITEMS = 8


@dataclass(frozen=True)
class Agreement:
    """Holds the largest difference between the scores of two engines, and what is allowed: relative, of roots of scores."""

    difference: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Return whether the difference is allowed."""
        return self.difference <= self.allowed

    @property
    def tie(self) -> float:
        """Return the relative difference of scores that is a tie: that of rounding if no more was seen, else all allowed.

        With d = allowed, a score is at most (1 + d)^2 times as large as on the other engine, and (1 + d)^2 (1 - 2 d) < 1.
        """
        return TIE if self.difference <= TIE / 2 else 2 * self.allowed


def agreement(calibration: Calibration, actual: Scores) -> Agreement:
    """Compare an engine's scores of the probe items with those of the engine that the calibration is from, item by item.

    If no source has 8 items of one kind, only what counts as a tie is allowed.
    """
    median, spread = min(_spreads(calibration), key=lambda median_and_spread: median_and_spread[1], default=(0.0, 0.0))
    pairs = zip(calibration.probe_scores, actual, strict=True)
    return Agreement(max(_difference(expected, score, median) for expected, score in pairs), max(TIE / 2, SHARE * spread))


def _spreads(calibration: Calibration) -> Iterator[tuple[float, float]]:
    """Yield the median of the roots of scores of each source, and the distance of their quartiles divided by it."""
    for by_source in (calibration.sources, calibration.short):
        for items in by_source.values():
            if len(items) < LEAST_ITEMS:
                continue
            roots = np.sqrt(item_scores(items))
            first, median, third = np.quantile(roots, (0.25, 0.5, 0.75)).tolist()
            yield (median, (third - first) / median) if median else (0.0, 0.0)


def _difference(expected: float, actual: float, median: float) -> float:
    if not isfinite(actual) or actual < 0:
        return inf
    root, scale = sqrt(actual), max(sqrt(expected), median)
    if scale == 0:
        return 0.0 if root == 0 else inf
    return abs(root - sqrt(expected)) / scale
