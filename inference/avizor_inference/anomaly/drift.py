"""Notice that the scores of a source have drifted away from its calibration, though few of its items are flagged.

Bettors bet against p-values being as frequent as they should be: a test martingale (Shafer and Vovk, "Game-Theoretic
Foundations for Probability and Finance", 2019). A bet on a level u stakes a share f of the capital on "the next p-value is at
most u". The odds are fair if that has probability q: the capital grows by 1 - f + f / q, or shrinks by 1 - f. If the true
probability is at most q, nobody gets rich but by luck. Who has less than at the start begins anew, so that a fault after years
is noticed as soon as one today. Within N items a bettor's capital exceeds c with a probability of at most N / c (Shin, Ramdas
and Rinaldo, "E-detectors", 2024). The evidence is the largest capital, divided by the number of bettors.

What q is. p <= u means that at most k - 1 of n calibration items have a score as large, where k is the whole part of u (n + 1).
For new items like those of the calibration, the probability of that depends on the calibration: it is distributed like
Beta(k, n + 1 - k), or smaller with equal scores (confidence.py). q is exceeded with a probability of at most RISK in all, so
that a calibration which happened to have low scores is no drift.

Half of the bettors look for scores that became larger, the others, with the order turned round, for smaller ones: of a recorder
that hangs, which plays one normal second again and again, nothing is ever flagged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import floor, log, log1p
from typing import NamedTuple

from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.repository.calibration import Calibration

# On what is bet: that p-values of at most so much are more frequent than in the calibration; and the share of the capital.
_LEVELS, _STAKES = (0.02, 0.1, 0.5), (0.1, 0.5)
_BETTORS = 2 * len(_LEVELS) * len(_STAKES)

# Probability that the calibration of a source is so unlucky that nothing is promised of it: over all levels, for both orders,
# and for items that are shorter than the model's window and those that are not.
RISK = 5e-5
_RISK_OF_ONE = RISK / (2 * 2 * len(_LEVELS))

# From this on it is told. Within 500 million healthy items a source gets there with a probability of at most
# 5e8 exp(-30) + RISK < 1e-4.
ALERT = 30.0

# The same of all items of a job together, which are looked at once: below 1e-4 with RISK.
ALERT_OF_A_JOB = 10.0

# It does not grow beyond this, so that it falls soon when all is well again.
_MOST = 35.0
_MOST_CAPITAL = _MOST + log(_BETTORS)


# Items, and of how many of them the p-value was at most each level: for larger scores, and then for smaller ones.
Tally = tuple[int, ...]
# By the number of calibration items that items were compared with.
Tallies = Mapping[int, Tally]


class Evidence(NamedTuple):
    """Holds the natural logarithms of the evidence that scores became larger, and that they became smaller; 0 for none."""

    larger: float
    smaller: float


def compared_items(calibration: Calibration, verdict: Verdict) -> int:
    """Return the number of calibration items by which the verdict on an item tells of drift: 0 if it does not.

    Of a source that was not calibrated nothing is promised, and its scores may well be others. Those of a cross-fitted
    calibration are of other networks than the one that answers, so that they differ a little.
    """
    if calibration.folds:
        return 0
    return verdict.of_source if calibration.tells_sources_apart else verdict.compared_with


class DriftDetector:
    """Adds up the evidence that the items of one source are not like those of its calibration, in constant memory."""

    def __init__(self) -> None:
        half = _BETTORS // 2
        self._larger, self._smaller = [0.0] * half, [0.0] * half  # natural logarithms of capital

    def add(self, p_value: float, low_p_value: float, count: int) -> None:
        """Take note of an item. low_p_value: of its score being low. count: of the calibration items it was compared with."""
        bets = _bets(count)
        self._larger = _after(self._larger, [won if p_value <= level else lost for level, won, lost in bets])
        self._smaller = _after(self._smaller, [won if low_p_value <= level else lost for level, won, lost in bets])

    def add_all(self, tallies: Tallies) -> None:
        """Take note of many items at once, in no order: who has less than at the start begins anew after all of them."""
        larger, smaller = _gains(tallies)
        self._larger, self._smaller = _after(self._larger, larger), _after(self._smaller, smaller)

    @property
    def log_martingale(self) -> float:
        """Return the natural logarithm of the evidence, 0 (none) to 35; see ALERT."""
        return min(max(0.0, max(*self._larger, *self._smaller) - log(_BETTORS)), _MOST)


def tally(p_value: float, low_p_value: float, count: int) -> Tally:
    """Return the tally of one item. See DriftDetector.add."""
    levels = _levels(count)
    return 1, *(int(p_value <= level) for level in levels), *(int(low_p_value <= level) for level in levels)


def evidence_of(tallies: Tallies) -> Evidence:
    """Return the evidence in all items of a job, whatever their order: nobody begins anew. See ALERT_OF_A_JOB."""
    return Evidence(*(max(0.0, max(gains) - log(_BETTORS)) for gains in _gains(tallies)))


def added(some: Tallies, others: Tallies) -> dict[int, Tally]:
    """Return the tallies of the items of both."""
    return {
        count: tuple(map(sum, zip(*(each[count] for each in (some, others) if count in each), strict=True)))
        for count in sorted(some.keys() | others.keys())
    }


def _gains(tallies: Tallies) -> tuple[list[float], list[float]]:
    """Return what the logarithms of the capitals change by."""
    half = _BETTORS // 2
    larger, smaller = [0.0] * half, [0.0] * half
    for count, (items, *hits) in tallies.items():
        for place, (_, won, lost) in enumerate(_bets(count)):
            level = place // len(_STAKES)
            for gains, won_by in ((larger, hits[level]), (smaller, hits[len(_LEVELS) + level])):
                gains[place] += won_by * won + (items - won_by) * lost
    return larger, smaller


def _after(capital: list[float], gains: list[float]) -> list[float]:
    """Return what bettors have then. min and max would take twice as long, for each item of a gateway."""
    return [
        (0.0 if before < 0.0 else before if before < _MOST_CAPITAL else _MOST_CAPITAL) + gain
        for before, gain in zip(capital, gains, strict=True)
    ]


# The level that a bettor bets on; what the logarithm of its capital changes by if it wins, and if it loses.
_Bet = tuple[float, float, float]


@lru_cache(maxsize=4096)
def _bets(count: int) -> tuple[_Bet, ...]:
    """Return the bets on items that are compared with so many of a calibration, in the order of levels and stakes."""
    bets = []
    for level in _LEVELS:
        at_most = floor(level * (count + 1) + 1e-9) - 1  # calibration items with a score as large
        for stake in _STAKES:
            if at_most < 0:
                bets.append((0.0, 0.0, 0.0))  # no p-value is that small
                continue
            odds = 1 / _share_bound(count, at_most)
            bets.append(((at_most + 1.5) / (count + 1), log1p(stake * (odds - 1)), log1p(-stake)))
    return tuple(bets)


@lru_cache(maxsize=4096)
def _levels(count: int) -> tuple[float, ...]:
    return tuple(level for level, _, _ in _bets(count)[:: len(_STAKES)])


def _share_bound(count: int, at_most: int) -> float:
    """Return q with P(Binomial(count, q) <= at_most) <= _RISK_OF_ONE.

    By Chernoff's bound of that probability, exp(-count KL(at_most / count, q)).
    """
    share, low, high = at_most / count, at_most / count, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if count * _divergence(share, middle) >= -log(_RISK_OF_ONE) else (middle, high)
    return high


def _divergence(share: float, probability: float) -> float:
    """Return the Kullback-Leibler divergence of two coins, in nats."""
    if probability >= 1:
        return float("inf")
    of_hits = share * log(share / probability) if share else 0.0
    return of_hits + (1 - share) * log((1 - share) / (1 - probability))
