"""From scores to p-values: how many normal items of the calibration look at least as unusual.

The unit that is exchangeable is the item (a recording, an image, a row): windows of one recording resemble each other. So

* an item is compared, by its score over all its windows (item_score.py), with the n items of the calibration:
  p = (1 + number with a score >= its own) / (n + 1)
  (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005);
* a window's p-value weighs the windows of each calibration item together as one:
  p = (1 + sum over items of the share of its windows with score >= s) / (n + 1)
  (hierarchical conformal prediction: Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023).

For an item like those of the calibration, P(p <= alpha) <= alpha, on average over calibrations. A p-value does not depend on
alpha, so a smaller alpha never flags more.

Sources. An item is compared with the items of its own source, which give no p below 1 / (n + 1). Where it is more unusual than
all of them, it is compared with the items of all sources together as well, and p is the smaller of both. An item whose source
has none is compared with those of all sources.

Short recordings. One that is shorter than the model's window is filled up with zeros, which no model has learnt. It is compared
only with calibration items that were filled up too, and the others only with those that were not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, isnan, log10

import numpy as np
from numpy.typing import NDArray

from avizor_inference.calibration import POOLED, Calibration, Scores
from avizor_inference.errors import CalibrationError
from avizor_inference.item_score import ItemScore


@dataclass(frozen=True)
class PValue:
    """A p-value in (0, 1], and the source whose items gave it; `*` for those of all sources together."""

    value: float
    judged_by: str


class Judge:
    """Gives p-values by one calibration. Everything is sorted once; a verdict is a search in a sorted list."""

    def __init__(self, calibration: Calibration) -> None:
        self._model = calibration.model
        self._own: dict[tuple[str, bool], _Ranks] = {}
        self._pools: dict[bool, _Ranks] = {}
        for is_short, sources in ((False, calibration.sources), (True, calibration.short)):
            for source, items in sources.items():
                self._own[source, is_short] = _Ranks(items)
            if pool := tuple(item for items in sources.values() for item in items):
                self._pools[is_short] = _Ranks(pool)

    def item_p_value(self, source: str, score: float, *, is_short: bool = False) -> PValue:
        """p-value of an item of `source` with this score (ItemScore.value).

        is_short: whether it is shorter than the model's window. Raises CalibrationError if there is nothing to compare it with.
        """
        return self._p_value(_Ranks.item_p_value, source, score, is_short)

    def window_p_value(self, source: str, score: float, *, is_short: bool = False) -> PValue:
        """The same of one window."""
        return self._p_value(_Ranks.window_p_value, source, score, is_short)

    def window_p_values(self, source: str, scores: NDArray[np.floating], *, is_short: bool = False) -> NDArray[np.float64]:
        """p-values of windows: scores float[n] -> float64[n] in (0, 1]. Raises CalibrationError as `item_p_value` does."""
        return np.array([self.window_p_value(source, float(score), is_short=is_short).value for score in scores])

    def count(self, *, is_short: bool = False) -> int:
        """How many calibration items of this kind there are, of all sources."""
        pool = self._pools.get(is_short)
        return pool.count if pool else 0

    def supports(self, alpha: float, *, is_short: bool = False) -> bool:
        """Whether p-values of such items can reach alpha."""
        return self.count(is_short=is_short) >= recordings_needed(alpha)

    def require_alpha(self, alpha: float) -> None:
        """Raise CalibrationError, with an alpha that would do, unless p-values of some kind of items can reach alpha."""
        most = max(self.count(is_short=False), self.count(is_short=True))
        if (needed := recordings_needed(alpha)) > most:
            raise CalibrationError(
                f"alpha {alpha:g} needs at least {needed} normal recordings and the calibration of {self._model!r} has {most}; "
                f"use alpha {_supported_alpha(most):g} or more, or ask the model's owner to calibrate it with more recordings"
            )

    def _p_value(self, p_value_by: Callable[[_Ranks, float], float], source: str, score: float, is_short: bool) -> PValue:
        pool = self._pool(is_short)
        own = self._own.get((source, is_short))
        if own is None:
            return PValue(p_value_by(pool, score), POOLED)
        p_value = p_value_by(own, score)
        if p_value <= own.least and (by_all := p_value_by(pool, score)) < p_value:
            return PValue(by_all, POOLED)
        return PValue(p_value, source)

    def _pool(self, is_short: bool) -> _Ranks:
        pool = self._pools.get(is_short)
        if pool is None:
            length = "shorter than" if is_short else "as long as"
            raise CalibrationError(f"the calibration of {self._model!r} has no recordings {length} the model's window")
        return pool


class _Ranks:
    """Scores of calibration items, sorted."""

    def __init__(self, items: tuple[Scores, ...]) -> None:
        windows = [np.asarray(scores, dtype=np.float64) for scores in items]
        self.count = len(items)
        self.least = 1 / (self.count + 1)  # no p-value is smaller
        self._items = sorted(ItemScore.of(scores).value for scores in windows)
        together = np.concatenate(windows)
        order = np.argsort(together)
        weights = np.concatenate([np.full(len(scores), 1.0 / len(scores)) for scores in windows])[order]
        self._windows: list[float] = together[order].tolist()
        # tail[i] is the weight of all calibration windows from the i-th smallest score on
        self._tail: list[float] = [*np.cumsum(weights[::-1])[::-1].tolist(), 0.0]

    def item_p_value(self, score: float) -> float:
        return (1 + self.count - _place(self._items, score)) / (self.count + 1)

    def window_p_value(self, score: float) -> float:
        # at most 1: a sum of shares may be a rounding over the count
        return min(1.0, (1.0 + self._tail[_place(self._windows, score)]) / (self.count + 1))


def _place(ascending: list[float], score: float) -> int:
    """How many are smaller. All are, than what is not a number."""
    return len(ascending) if isnan(score) else bisect_left(ascending, score)


def recordings_needed(alpha: float) -> int:
    """Least number of normal recordings whose p-values can reach `alpha`: the smallest n with 1 / (n + 1) <= alpha."""
    if not 0 < alpha < 1:
        raise CalibrationError(f"alpha {alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01")
    return ceil(1 / alpha - 1e-9) - 1


def _supported_alpha(recordings: int) -> float:
    """The least alpha that so many recordings support, rounded up to two digits."""
    step = 10.0 ** (floor(log10(1 / (recordings + 1))) - 1)
    return ceil(1 / (recordings + 1) / step - 1e-9) * step
