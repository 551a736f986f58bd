"""Build the columns of what was judged: windows and items of a job, or of what a gateway keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avizor_inference.anomaly.p_values import Judge, recordings_needed
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Array
from avizor_inference.items.kinds.base import Span

# Column -> value. Columns that are left out are null.
TableRow = dict[str, Any]

# Column -> a value for each of some rows, which are next to each other. Columns that are left out are null.
Columns = dict[str, list[Any]]


def span_columns(spans: Sequence[Span], rate: float | None) -> Columns:
    """Return the columns that say where windows of a recording are. rate: the model's, in Hz; None if it has none."""
    starts, ends = [span.start_sample for span in spans], [span.end_sample for span in spans]
    columns: Columns = {"channel": [span.channel for span in spans], "start_sample": starts, "end_sample": ends}
    if rate:
        columns |= {"start_s": [start / rate for start in starts], "end_s": [end / rate for end in ends]}
    return columns


def score_columns(scores: Array, judge: Judge | None, source: str, alpha: float, *, is_short: bool) -> Columns:
    """Return the columns of an autoencoder's windows of one item; without p-values if the calibration cannot support alpha.

    scores: float32[windows >= 1]. is_short: whether the item is shorter than the model's window.
    """
    columns: Columns = {"score": scores.tolist()}
    if judge is None or judge.count(is_short=is_short) < recordings_needed(alpha):
        return columns
    p_values, judged_by = judge.window_p_values(source, scores, is_short=is_short)
    return columns | {"p_value": p_values.tolist(), "is_anomaly": (p_values <= alpha).tolist(), "judged_by": judged_by}


def verdict_columns(verdict: Verdict, alpha: float, confidence: float | None = None) -> TableRow:
    """Return the columns of an item that was judged by a calibration, or why it was not."""
    if reason := verdict.not_judged(alpha, confidence):
        return {"score": verdict.score, "not_judged": reason}
    return {
        "score": verdict.score,
        "p_value": verdict.p_value,
        "is_anomaly": verdict.is_anomaly(alpha, confidence),
        "judged_by": verdict.judged_by,
    }
