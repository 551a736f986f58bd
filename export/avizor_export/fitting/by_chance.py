"""Say by what chance a calibration flags so many new items, if they are as normal as its own.

One calibration flags more or less than alpha: it is itself a draw. Of n scores and a new one that are drawn alike, the new one
has a p-value of at most alpha if it is above the a-th largest of the n; a is the largest whole number that is at most
alpha (n + 1). The share above that score is distributed like Beta(a, n + 1 - a), so the number of m new items is beta-binomial,
and varies more than a binomial: all m are compared with the same n.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from avizor_inference.anomaly.confidence import flagged_on_average
from avizor_inference.anomaly.cross_fitted import promised_rate


@dataclass(frozen=True)
class Asked:
    """Holds how many new items are compared with how many of a calibration, at least 1."""

    new: int
    calibration: int


def chance_of_as_many(flagged: int, asked: Iterable[Asked], alpha: float, folds: int = 0) -> float:
    """Return the probability that at least so many of the new items are flagged at alpha, 0 to 1.

    asked: of each source; no two are compared with the same items. folds: of a cross-fitted calibration, which promises a
    larger rate than alpha.
    """
    number = np.ones(1)
    for each in asked:
        number = np.convolve(number, _beta_binomial(each.new, *_beta(each.calibration, alpha, folds)))
    return float(number[flagged:].sum())


def _beta(count: int, alpha: float, folds: int) -> tuple[float, float]:
    """Return the parameters of the share that is flagged.

    Of a cross-fitted calibration only the mean is known, and at most so large; it varies as one of as many items would.
    """
    above = float(flagged_on_average(count, alpha) or 1)
    if folds:
        above = min(promised_rate(count, folds, alpha), 1 - 1e-9) * (count + 1)
    return above, count + 1 - above


def _beta_binomial(of: int, a: float, b: float) -> NDArray[np.float64]:
    """Return the probabilities of 0 to `of`, by their logarithms: their factors overflow."""
    logarithms = [
        lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1) + lgamma(k + a) + lgamma(of - k + b) - lgamma(of + a + b)
        for k in range(of + 1)
    ]
    return np.exp(np.array(logarithms) + lgamma(a + b) - lgamma(a) - lgamma(b))
