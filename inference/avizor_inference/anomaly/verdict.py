"""The verdict on one item: its score over all windows and channels, its p-value, and whether that flags it."""

from __future__ import annotations

from dataclasses import dataclass

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, recordings_needed


@dataclass(frozen=True)
class Verdict:
    """What is known of one item. It is made once; alpha only compares.

    score: ItemScore.value, >= 0. p_value: in (0, 1], None if there is nothing to compare the item with. judged_by: the source
    whose calibration items gave the p-value, or `*` for all sources together. is_short: whether the item is a recording shorter
    than the model's window. compared_with: how many calibration items of its kind there are.
    """

    score: float
    p_value: float | None
    judged_by: str | None
    is_short: bool
    compared_with: int

    def is_anomaly(self, alpha: float) -> bool | None:
        """Whether the p-value flags it at this share of false alarms; None if `not_judged` says that it cannot tell."""
        return None if self.p_value is None or self.not_judged(alpha) else self.p_value <= alpha

    def not_judged(self, alpha: float) -> str | None:
        """Why no p-value of such an item can reach alpha, in a sentence; None if one can."""
        needed = recordings_needed(alpha)
        if self.compared_with >= needed:
            return None
        length = "shorter than" if self.is_short else "at least as long as"
        return (
            f"the recording is {length} the model's window, and the calibration has {self.compared_with} such recordings; "
            f"alpha {alpha:g} needs {needed}"
        )


def verdict(judge: Judge, source: str, item: ItemScore, *, is_short: bool = False) -> Verdict:
    """Judge an item of `source`. is_short: whether it is a recording shorter than the model's window."""
    count = judge.count(is_short=is_short)
    if not count:
        return Verdict(item.value, None, None, is_short, 0)
    p_value = judge.item_p_value(source, item.value, is_short=is_short)
    return Verdict(item.value, p_value.value, p_value.judged_by, is_short, count)
