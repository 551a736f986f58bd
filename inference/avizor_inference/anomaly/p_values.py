"""From scores to p-values: how many normal items of the calibration look at least as unusual.

The unit that is exchangeable is the item (a recording, an image, a row): windows of one recording resemble each other. So

* an item is compared, by its score over all its windows (item_score.py), with the n items of the calibration:
  p = (1 + number with a score >= its own) / (n + 1)
  (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005);
* a window's p-value weighs the windows of each calibration item together as one:
  p = (1 + sum over items of the share of its windows with score >= s) / (n + 1)
  (hierarchical conformal prediction: Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023).
  What is promised is promised for a window drawn at random from an item.

A p-value does not depend on alpha, so a smaller alpha never flags more.

Sources. An item is compared with the n items of its own source, which give no p below 1 / (n + 1). Where it is more unusual
than all of them, it is compared with the items of all sources together as well, and p is the smaller of both. So for normal
items of a source like those of its calibration, on average over calibrations,

    P(p <= alpha) <= max(alpha, 1 / (n + 1)).

An item whose source has none is compared with those of all sources; for it nothing is promised.

Short recordings. One that is shorter than the model's window is filled up with zeros, which no model has learnt. It is compared
only with calibration items that were filled up too, and the others only with those that were not; n counts items of its kind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isnan, log10

import numpy as np
from numpy.typing import NDArray

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import POOLED, Calibration, Scores

# Scores whose difference is a smaller share of them count as equal. An engine's float32 rounding depends on what else is in the
# batch (by up to 2e-7 of a score), and equal items would else be told apart by it. This can only make a p-value larger.
TIE = 1e-5


@dataclass(frozen=True)
class PValue:
    """A p-value in (0, 1], and the source whose items gave it; `*` for those of all sources together."""

    value: float
    judged_by: str


class Judge:
    """Gives p-values by one calibration. Everything is sorted once; a verdict is a search in a sorted list."""

    def __init__(self, calibration: Calibration) -> None:
        self._own: dict[tuple[str, bool], _Ranks] = {}
        self._pools: dict[bool, _Ranks] = {}
        for is_short in (False, True):
            scored = {source: [_Scored.of(each) for each in items] for source, items in calibration.of_kind(is_short).items()}
            self._own |= {(source, is_short): _Ranks(items) for source, items in scored.items()}
            if scored:
                self._pools[is_short] = _Ranks([item for items in scored.values() for item in items])

    def item_p_value(self, source: str, score: float, *, is_short: bool = False) -> PValue:
        """p-value of an item of `source` with this score (ItemScore.value).

        is_short: whether it is shorter than the model's window. Raises CalibrationError if there is nothing to compare it with.
        """
        pool, own = self._pool(is_short), self._own.get((source, is_short))
        if own is None:
            return PValue(pool.item_p_value(score), POOLED)
        p_value = own.item_p_value(score)
        if p_value <= own.least and (by_all := pool.item_p_value(score)) < p_value:
            return PValue(by_all, POOLED)
        return PValue(p_value, source)

    def window_p_values(
        self, source: str, scores: NDArray[np.floating], *, is_short: bool = False
    ) -> tuple[NDArray[np.float64], list[str]]:
        """p-values of windows of one item, scores float[n] -> float64[n] in (0, 1], and the source that gave each.

        Raises CalibrationError as `item_p_value` does.
        """
        pool, own = self._pool(is_short), self._own.get((source, is_short))
        if own is None:
            return pool.window_p_values(scores), [POOLED] * len(scores)
        by_own = own.window_p_values(scores)
        is_extreme = by_own <= own.least
        if not is_extreme.any():
            return by_own, [source] * len(scores)
        by_all = pool.window_p_values(scores)
        goes_on = is_extreme & (by_all < by_own)
        return np.where(goes_on, by_all, by_own), [POOLED if each else source for each in goes_on]

    def count(self, *, is_short: bool = False) -> int:
        """How many calibration items of this kind there are, of all sources."""
        pool = self._pools.get(is_short)
        return pool.count if pool else 0

    def _pool(self, is_short: bool) -> _Ranks:
        pool = self._pools.get(is_short)
        if pool is None:
            length = "shorter than" if is_short else "at least as long as"
            raise CalibrationError(f"the calibration has no recordings {length} the model's window")
        return pool


@dataclass(frozen=True)
class _Scored:
    """A calibration item: its score, and those of its windows."""

    score: float
    windows: NDArray[np.float64]

    @classmethod
    def of(cls, scores: Scores) -> _Scored:
        windows = np.array(scores)
        return cls(ItemScore.of(windows).value, windows)


class _Ranks:
    """Scores of calibration items, sorted."""

    def __init__(self, items: Sequence[_Scored]) -> None:
        self.count = len(items)
        self.least = 1 / (self.count + 1)  # no p-value is smaller
        self._items = sorted(item.score for item in items)
        windows = np.concatenate([item.windows for item in items])
        order = np.argsort(windows)
        weights = np.concatenate([np.full(len(item.windows), 1.0 / len(item.windows)) for item in items])[order]
        self._windows = windows[order]
        # tail[i] is the weight of all calibration windows from the i-th smallest score on
        self._tail = np.append(np.cumsum(weights[::-1])[::-1], 0.0)

    def item_p_value(self, score: float) -> float:
        return (1 + self.count - bisect_left(self._items, _less_rounding(score))) / (self.count + 1)

    def window_p_values(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        places = np.searchsorted(self._windows, [_less_rounding(float(score)) for score in scores], side="left")
        # at most 1: a sum of shares may be a rounding over the count
        return np.minimum(1.0, (1.0 + self._tail[places]) / (self.count + 1))


def _less_rounding(score: float) -> float:
    """The score from which on calibration scores count as no smaller. What is not a number is larger than all."""
    return inf if isnan(score) else score * (1 - TIE)


def require_alpha(calibration: Calibration, alpha: float) -> None:
    """Raise CalibrationError, with an alpha that would do, unless p-values of some kind of items can reach alpha."""
    most = max(calibration.count(is_short=False), calibration.count(is_short=True))
    if (needed := recordings_needed(alpha)) > most:
        raise CalibrationError(
            f"alpha {alpha:g} needs at least {needed} normal recordings and the calibration of {calibration.model!r} has "
            f"{most}; use alpha {_supported_alpha(most):g} or more, or ask the model's owner to calibrate it with more "
            "recordings"
        )


def under_calibrated(
    calibration: Calibration, sources: Iterable[str], alpha: float, *, is_short: bool = False
) -> dict[str, int]:
    """Those of the sources whose own recordings of a kind cannot support alpha, with their number; 0 if never calibrated.

    None where the calibration tells no sources apart, or where not even all of its recordings of the kind can.
    """
    needed = recordings_needed(alpha)
    if not calibration.tells_sources_apart or calibration.count(is_short=is_short) < needed:
        return {}
    own = {source: calibration.count(source, is_short=is_short) for source in sources}
    return {source: count for source, count in own.items() if count < needed}


def recordings_needed(alpha: float) -> int:
    """Least number of normal recordings whose p-values can reach `alpha`: the smallest n with 1 / (n + 1) <= alpha."""
    if not 0 < alpha < 1:
        raise CalibrationError(f"alpha {alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01")
    return ceil(1 / alpha - 1e-9) - 1


def _supported_alpha(recordings: int) -> float:
    """The least alpha that so many recordings support, rounded up to two digits."""
    step = 10.0 ** (floor(log10(1 / (recordings + 1))) - 1)
    return ceil(1 / (recordings + 1) / step - 1e-9) * step
