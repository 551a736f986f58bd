"""Turn scores into p-values: the share of normal items in the calibration that look at least as unusual.

The exchangeable unit is the item (a recording, an image, a row), because windows of one recording resemble each other. So

* an item is compared, by its score over all its windows (item_score.py), with the n items of the calibration:
  p = (1 + number with a score >= its own) / (n + 1)
  (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005);
* a window's p-value weighs the windows of each calibration item together as one:
  p = (1 + sum over items of the share of its windows with score >= s) / (n + 1)
  (hierarchical conformal prediction: Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023).
  The promise for windows holds for a window drawn at random from an item.

A p-value does not depend on alpha, so a smaller alpha never flags more.

Sources. An item is compared with the n calibration items of its own source, from which p cannot be below 1 / (n + 1). If it is
more unusual than all of them, it is also compared with the items of all sources together, and p is the smaller of the two. So
for normal items of a source that are distributed like those of its calibration, on average over calibrations,

    P(p <= alpha) <= max(alpha, 1 / (n + 1)).

An item whose source has no calibration items is compared with those of all sources; for such an item there is no promise.

Confidence. The promise is on average over calibrations. With a confidence (confidence.py) an item is flagged if its p-value is
at most l / (n + 1): then the calibration of a source with enough items flags more than alpha of its normal items only with a
probability of at most 1 - confidence. The comparison with all sources changes nothing of that, since it is for items that are
more unusual than all of their source, and these are flagged already. It decides for sources that have too few items, for which
the confidence does not hold.

Short recordings. A recording shorter than the model's window is padded with zeros, which no model has learnt. It is compared
only with calibration items that were padded too, and all other items only with those that were not; n counts items of its kind.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isnan, log10

import numpy as np
from numpy.typing import NDArray

from avizor_inference.anomaly.confidence import items_needed, items_needed_on_average, level_problem, lowest_alpha
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import POOLED, Calibration, Scores

# Scores count as equal if their relative difference is below this. An engine's float32 rounding depends on what else is in the
# batch (by up to 2e-7 of a score), so that equal items would have different scores. This can only make a p-value larger.
TIE = 1e-5


@dataclass(frozen=True)
class PValue:
    """Holds a p-value in (0, 1], and the source whose items it was computed from; `*` stands for all sources together.

    low: the p-value of the score being low, from the items of its source, or of all if it has none (drift.py).
    """

    value: float
    judged_by: str
    low: float = 1.0


class Judge:
    """Computes p-values from one calibration. The scores are sorted once; each p-value is a binary search.

    tie: relative difference below which two scores count as equal. A larger one can only make p-values larger. It is for scores
    of another engine than the calibration's (score_agreement.py).
    """

    def __init__(self, calibration: Calibration, tie: float = TIE) -> None:
        self._own: dict[tuple[str, bool], _Ranks] = {}
        self._pools: dict[bool, _Ranks] = {}
        for is_short in (False, True):
            scored = {source: [_Scored.of(item) for item in items] for source, items in calibration.of_kind(is_short).items()}
            self._own |= {(source, is_short): _Ranks(items, tie) for source, items in scored.items()}
            if scored:
                self._pools[is_short] = _Ranks([item for items in scored.values() for item in items], tie)

    def item_p_value(self, source: str, score: float, *, is_short: bool = False) -> PValue:
        """Return the p-value of an item of `source` with this score (ItemScore.value).

        is_short: whether it is a recording shorter than the model's window. Raises CalibrationError if the calibration has no
        items to compare it with.
        """
        pool, own = self._pool(is_short), self._own.get((source, is_short))
        if own is None:
            return PValue(pool.item_p_value(score), POOLED, pool.low_p_value(score))
        p_value, low = own.item_p_value(score), own.low_p_value(score)
        if p_value <= own.smallest_p_value and (by_all := pool.item_p_value(score)) < p_value:
            return PValue(by_all, POOLED, low)
        return PValue(p_value, source, low)

    def window_p_values(
        self, source: str, scores: NDArray[np.floating], *, is_short: bool = False
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Return the p-values of windows of one item, and the source whose items each of them was computed from.

        scores: float[n] -> p-values float64[n] in (0, 1], and n sources. Raises CalibrationError as `item_p_value` does.
        """
        pool, own = self._pool(is_short), self._own.get((source, is_short))
        if own is None:
            return pool.window_p_values(scores), [POOLED] * len(scores)
        by_own = own.window_p_values(scores)
        is_extreme = by_own <= own.smallest_p_value
        if not is_extreme.any():
            return by_own, [source] * len(scores)
        by_all = pool.window_p_values(scores)
        uses_all = is_extreme & (by_all < by_own)
        return np.where(uses_all, by_all, by_own), [POOLED if is_by_all else source for is_by_all in uses_all]

    def count(self, source: str = POOLED, *, is_short: bool = False) -> int:
        """Return the number of calibration items of this kind, from one source or from all sources together."""
        ranks = self._pools.get(is_short) if source == POOLED else self._own.get((source, is_short))
        return ranks.count if ranks else 0

    def _pool(self, is_short: bool) -> _Ranks:
        pool = self._pools.get(is_short)
        if pool is None:
            content = "no recordings" if is_short else "only recordings that are"
            raise CalibrationError(f"the calibration has {content} shorter than the model's window")
        return pool


@dataclass(frozen=True)
class _Scored:
    """Holds a calibration item: its score, and the scores of its windows."""

    score: float
    windows: NDArray[np.float64]

    @classmethod
    def of(cls, scores: Scores) -> _Scored:
        windows = np.array(scores)
        return cls(ItemScore.of(windows).value, windows)


class _Ranks:
    """Holds the scores of calibration items and of their windows, sorted."""

    def __init__(self, items: Sequence[_Scored], tie: float) -> None:
        self._tie = tie
        self.count = len(items)
        self.smallest_p_value = 1 / (self.count + 1)
        self._items = sorted(item.score for item in items)
        windows = np.concatenate([item.windows for item in items])
        order = np.argsort(windows)
        weights = np.concatenate([np.full(len(item.windows), 1.0 / len(item.windows)) for item in items])[order]
        self._windows = windows[order]
        # tail[i] is the total weight of the calibration windows from the i-th smallest score upwards
        self._tail = np.append(np.cumsum(weights[::-1])[::-1], 0.0)

    def item_p_value(self, score: float) -> float:
        return (1 + self.count - bisect_left(self._items, self._least_equal(score))) / (self.count + 1)

    def low_p_value(self, score: float) -> float:
        return (1 + bisect_right(self._items, inf if isnan(score) else score * (1 + self._tie))) / (self.count + 1)

    def window_p_values(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        places = np.searchsorted(self._windows, [self._least_equal(float(score)) for score in scores], side="left")
        # at most 1, because rounding may make a sum of shares slightly larger than the count
        return np.minimum(1.0, (1.0 + self._tail[places]) / (self.count + 1))

    def _least_equal(self, score: float) -> float:
        """Return the smallest calibration score that counts as equal to this score. NaN counts as larger than all scores."""
        return inf if isnan(score) else score * (1 - self._tie)


def require_alpha(calibration: Calibration, alpha: float, confidence: float | None = None) -> None:
    """Raise CalibrationError unless some kind of items can be flagged at alpha. The message suggests a larger alpha.

    confidence: see confidence.py; None for the promise on average.
    """
    if calibration.folds and confidence is not None:
        raise CalibrationError(
            f"the calibration of {calibration.model!r} is cross-fitted, and promises a rate on average alone; ask without a "
            "confidence, or calibrate with items that the model was not trained on"
        )
    count = calibration.most_of_a_kind()
    if (needed := recordings_needed(alpha, confidence)) > count:
        less = "" if confidence is None else ", less confidence or none"
        raise CalibrationError(
            f"{level(alpha, confidence)} needs at least {needed} normal items and the calibration of {calibration.model!r} has "
            f"{count}; use alpha {supported_alpha(count, confidence):g} or more{less}, or ask the model's owner to calibrate "
            f"it with more items{for_each_source(calibration, confidence)}"
        )


def for_each_source(calibration: Calibration, confidence: float | None) -> str:
    """Return from which alpha on each source keeps it, for a message; empty if that is no other than for all together."""
    if not calibration.tells_sources_apart:
        return ""
    kinds = (False, True)
    fewest = min(max(calibration.count(source, is_short=short) for short in kinds) for source in calibration.source_names)
    if fewest in (0, calibration.most_of_a_kind()):
        return ""
    return f"; each source by itself keeps alpha from {supported_alpha(fewest, confidence):g} on"


def level(alpha: float, confidence: float | None = None) -> str:
    """Return alpha and confidence in words."""
    return f"alpha {alpha:g}" + ("" if confidence is None else f" with confidence {confidence:g}")


def under_calibrated(
    calibration: Calibration,
    sources: Iterable[str],
    alpha: float,
    confidence: float | None = None,
    *,
    is_short: bool = False,
) -> dict[str, int]:
    """Return the sources whose own items of a kind are too few for alpha, with their number: 0 if never calibrated.

    The result is empty if the calibration does not distinguish sources, or if even the items of all sources together are too
    few for alpha.
    """
    needed = recordings_needed(alpha, confidence)
    if not calibration.tells_sources_apart or calibration.count(is_short=is_short) < needed:
        return {}
    own = {source: calibration.count(source, is_short=is_short) for source in sources}
    return {source: count for source, count in own.items() if count < needed}


def recordings_needed(alpha: float, confidence: float | None = None) -> int:
    """Return the number of normal items from which p-values can reach `alpha`: the smallest n with 1 / (n + 1) <= alpha.

    With a confidence it is the smallest n with which an item can be flagged. Raises CalibrationError if alpha or confidence is
    not between 0 and 1.
    """
    if problem := level_problem(alpha, confidence):
        raise CalibrationError(problem[1])
    return items_needed_on_average(alpha) if confidence is None else items_needed(alpha, confidence)


def supported_alpha(recordings: int, confidence: float | None) -> float:
    """Return the smallest alpha that this number of items supports, rounded up to two digits."""
    lowest = 1 / (recordings + 1) if confidence is None else lowest_alpha(recordings, confidence)
    step = 10.0 ** (floor(log10(lowest)) - 1)
    return ceil(lowest / step - 1e-9) * step
