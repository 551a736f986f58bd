"""Judge one item: the score over all its windows and channels, its p-value, and whether it is an anomaly."""

from __future__ import annotations

from dataclasses import dataclass

from avizor_inference.anomaly.confidence import flagged_scores
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, level, recordings_needed
from avizor_inference.repository.calibration import POOLED


@dataclass(frozen=True)
class Verdict:
    """Holds the score and the p-value of one item. Neither depends on alpha, which is only compared with the p-value.

    score: ItemScore.value, >= 0. p_value: in (0, 1]; None if the calibration has no items of its kind. judged_by: the source
    whose calibration items the p-value was computed from, or `*` for all sources together. is_short: whether the item is a
    recording shorter than the model's window. compared_with: the number of calibration items of its kind. of_source: how many
    of them are of its source. low_p_value: in (0, 1], of the score being low: small for what is more usual than normal items.
    """

    score: float
    p_value: float | None
    judged_by: str | None
    is_short: bool
    compared_with: int
    of_source: int = 0
    low_p_value: float = 1.0

    def is_anomaly(self, alpha: float, confidence: float | None = None) -> bool | None:
        """Return whether the p-value is at most alpha, the promised share of false alarms; None if the item is not judged.

        confidence: that alpha is kept by this calibration, and not only on average (confidence.py); None for the average.
        """
        if self.p_value is None or self.not_judged(alpha, confidence):
            return None
        return self.p_value <= (alpha if confidence is None else self._limit(alpha, confidence))

    def _limit(self, alpha: float, confidence: float) -> float:
        """Return the largest p-value that is flagged: by the items of its source, or by all if these are too few."""
        if flagged := flagged_scores(self.of_source, alpha, confidence):
            return flagged / (self.of_source + 1)
        if self.judged_by != POOLED:
            return 0.0
        return flagged_scores(self.compared_with, alpha, confidence) / (self.compared_with + 1)

    def not_judged(self, alpha: float, confidence: float | None = None) -> str | None:
        """Return in a sentence why the item cannot be judged: no item of its kind can be flagged. None if one can."""
        needed = recordings_needed(alpha, confidence)
        if self.compared_with >= needed:
            return None
        kind = "such recordings" if self.is_short else "items that are not shorter than the model's window"
        cause = "the recording is shorter than the model's window, and " if self.is_short else ""
        return f"{cause}the calibration has {self.compared_with} {kind}; {level(alpha, confidence)} needs {needed}"


def verdict(judge: Judge, source: str, item: ItemScore, *, is_short: bool = False) -> Verdict:
    """Judge an item of `source` by its windows. is_short: whether it is a recording shorter than the model's window."""
    count = judge.count(is_short=is_short)
    if not count:
        return Verdict(item.value, None, None, is_short, 0)
    p_value, own = judge.item_p_value(source, item.value, is_short=is_short), judge.count(source, is_short=is_short)
    return Verdict(item.value, p_value.value, p_value.judged_by, is_short, count, own, p_value.low)
