"""Judge one item: the score over all its windows and channels, its p-value, and whether it is an anomaly."""

from __future__ import annotations

from dataclasses import dataclass

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, recordings_needed


@dataclass(frozen=True)
class Verdict:
    """Holds the score and the p-value of one item. Neither depends on alpha, which is only compared with the p-value.

    score: ItemScore.value, >= 0. p_value: in (0, 1]; None if the calibration has no items of its kind. judged_by: the source
    whose calibration items the p-value was computed from, or `*` for all sources together. is_short: whether the item is a
    recording shorter than the model's window. compared_with: the number of calibration items of its kind.
    """

    score: float
    p_value: float | None
    judged_by: str | None
    is_short: bool
    compared_with: int

    def is_anomaly(self, alpha: float) -> bool | None:
        """Return whether the p-value is at most alpha, the promised share of false alarms; None if the item is not judged."""
        return None if self.p_value is None or self.not_judged(alpha) else self.p_value <= alpha

    def not_judged(self, alpha: float) -> str | None:
        """Return in a sentence why the item cannot be judged: no p-value of its kind can reach alpha. None if one can."""
        needed = recordings_needed(alpha)
        if self.compared_with >= needed:
            return None
        kind = "such recordings" if self.is_short else "items that are not shorter than the model's window"
        cause = "the recording is shorter than the model's window, and " if self.is_short else ""
        return f"{cause}the calibration has {self.compared_with} {kind}; alpha {alpha:g} needs {needed}"


def verdict(judge: Judge, source: str, item: ItemScore, *, is_short: bool = False) -> Verdict:
    """Judge an item of `source` by its windows. is_short: whether it is a recording shorter than the model's window."""
    count = judge.count(is_short=is_short)
    if not count:
        return Verdict(item.value, None, None, is_short, 0)
    p_value = judge.item_p_value(source, item.value, is_short=is_short)
    return Verdict(item.value, p_value.value, p_value.judged_by, is_short, count)
