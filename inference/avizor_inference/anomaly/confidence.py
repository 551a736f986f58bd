"""How many calibration items an item has to exceed so that one calibration keeps alpha, with a given confidence.

A p-value keeps its promise on average over calibrations. The share of normal items that one calibration of n items flags varies
around alpha: if an item is flagged where at most l - 1 of the n scores are as large, and no two scores are equal, that share is
distributed like Beta(l, n + 1 - l) (Vovk, "Conditional validity of inductive conformal predictors", 2012). With equal scores it
is smaller. So a calibration flags more than alpha with a probability of at most

    P(Beta(l, n + 1 - l) > alpha) = P(Binomial(n, alpha) <= l - 1),

and l is the largest whole number for which that is at most 1 - confidence.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, log, log1p

import numpy as np

# Roundings of the sums; 1 - 0.95 is a little over 0.05.
_ROUNDING = 1e-12
# More calibration items than there can be: 1 / alpha of the smallest alphas is infinite.
MOST_ITEMS = 1e18


def flagged_on_average(count: int, alpha: float) -> int:
    """Return a, the largest whole number that is at most alpha (count + 1).

    An item is flagged if it is above the a-th largest of `count` calibration scores: at most alpha, on average. 0: none can be.
    """
    return floor(alpha * (count + 1) + 1e-9)


@lru_cache(maxsize=1024)
def flagged_scores(count: int, alpha: float, confidence: float) -> int:
    """Return l: an item is flagged if it is above the l-th largest of `count` calibration scores. 0: none can be flagged.

    It is never so large that more than alpha would be flagged on average.
    """
    if count < 1:
        return 0
    steps = np.arange(count - 1)
    odds = np.log((count - steps) / (steps + 1)) + log(alpha) - log1p(-alpha)
    # P(Binomial(count, alpha) = k) for k = 0 to count - 1, by their logarithms: the first ones underflow
    logarithms = count * log1p(-alpha) + np.concatenate([[0.0], np.cumsum(odds)])
    at_most = np.cumsum(np.exp(logarithms))
    largest = int(np.searchsorted(at_most, 1 - confidence + _ROUNDING, side="right"))
    return min(largest, flagged_on_average(count, alpha))


def items_needed(alpha: float, confidence: float) -> int:
    """Return the smallest number of calibration items with which an item can be flagged: (1 - alpha)^n <= 1 - confidence."""
    by_confidence = min(log(1 - confidence + _ROUNDING) / log1p(-alpha), MOST_ITEMS)
    return max(ceil(by_confidence - 1e-9), items_needed_on_average(alpha))


def items_needed_on_average(alpha: float) -> int:
    """Return the smallest n with 1 / (n + 1) <= alpha, up to MOST_ITEMS."""
    return ceil(min(1 / alpha, MOST_ITEMS) - 1e-9) - 1


def lowest_alpha(count: int, confidence: float) -> float:
    """Return the smallest alpha for which `count` calibration items are enough."""
    return max(-float(np.expm1(log(1 - confidence) / count)), 1 / (count + 1))


def level_problem(alpha: float, confidence: float | None) -> tuple[str, str] | None:
    """Return which of the two is not between 0 and 1, by its name, and the message that says so; None if both are."""
    if not 0 < alpha < 1:
        return "alpha", f"alpha {alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01"
    if confidence is not None and not 0 < confidence < 1:
        rule = "it is the probability that a calibration keeps alpha, e.g. 0.95"
        return "confidence", f"confidence {confidence:g} is not between 0 and 1; {rule}"
    return None
