"""Build the rows of the tables, and count them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from avizor_inference.anomaly.p_values import Judge, recordings_needed
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Array
from avizor_inference.classify import ClassProbability, present_classes, top_k
from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.base import Span
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.part_files import SourceCount

# Column -> value. Columns that are left out are null.
TableRow = dict[str, Any]


def window_row(model: JobModel, entry: Entry, span: Span) -> TableRow:
    """Return the columns that every row of `windows` has."""
    rate = model.format.sample_rate
    return {
        "uri": entry.uri,
        "source": entry.source,
        "channel": span.channel,
        "start_sample": span.start_sample,
        "end_sample": span.end_sample,
        **({"start_s": span.start_sample / rate, "end_s": span.end_sample / rate} if rate else {}),
        "model": model.name,
        "model_version": model.choice.version,
    }


def class_columns(labels: Sequence[str], probabilities: Array, thresholds: Sequence[float] = (), k: int = 3) -> TableRow:
    """Return the columns of a classifier's window.

    probabilities: float32[classes]. thresholds: see `mean_class_columns`. k: classes in `top_k`.
    """
    best = {"top_k": _structs(top_k(probabilities, labels, k))}
    return mean_class_columns(labels, probabilities, thresholds) | best


def score_columns(score: Array, judge: Judge | None, source: str, alpha: float, *, is_short: bool) -> TableRow:
    """Return the columns of an autoencoder's window; without p-value if the calibration cannot support alpha.

    score: float32[1]. is_short: whether the item is shorter than the model's window.
    """
    row: TableRow = {"score": float(score[0])}
    if judge is None or judge.count(is_short=is_short) < recordings_needed(alpha):
        return row
    (p_value,), (judged_by,) = judge.window_p_values(source, score, is_short=is_short)
    return row | {"p_value": float(p_value), "is_anomaly": bool(p_value <= alpha), "judged_by": judged_by}


def item_row(model: JobModel, entry: Entry, windows: int, level: Level) -> TableRow:
    """Return the columns that every row of `recordings` has. windows: their number, over all channels."""
    return {
        "uri": entry.uri,
        "source": entry.source,
        "model": model.name,
        "windows": windows,
        "peak": level.peak,
        "clipped": level.share_beyond,
    }


def mean_class_columns(labels: Sequence[str], probabilities: Array, thresholds: Sequence[float] = ()) -> TableRow:
    """Return the columns of a classifier's item. probabilities: mean over the windows, float64[classes].

    thresholds: one for each class of a multi-label model, which alone has `labels`; empty for any other.
    """
    row: TableRow = _structs(top_k(probabilities, labels, 1))[0]
    if thresholds:
        row["labels"] = _structs(present_classes(probabilities, labels, thresholds))
    return row


def counted_labels(row: TableRow) -> list[str]:
    """Return the labels under which an item is counted: its class, or all classes over their thresholds (multi-label)."""
    if "labels" in row:
        return [each["label"] for each in row["labels"]]
    return [row["label"]] if "label" in row else []


def _structs(classes: Iterable[ClassProbability]) -> list[dict[str, Any]]:
    return [{"label": each.label, "probability": each.probability} for each in classes]


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


def dead_letter(entry: Entry, error: MediaError) -> TableRow:
    """Return the row of a file that could not be read."""
    return {
        "uri": entry.uri,
        "source": entry.source,
        "offset": error.offset,
        "stage": "decode",
        "error_class": type(error).__name__,
        "message": str(error),
    }


def count_by_source(rows: Sequence[TableRow], short: Container[str]) -> dict[str, SourceCount]:
    """Count the items of one model by source. short: uris of the items that are shorter than the model's window."""
    counts: dict[str, SourceCount] = {}
    for row in rows:
        one = SourceCount(
            recordings=1,
            anomalies=int(bool(row.get("is_anomaly"))),
            not_judged=int("not_judged" in row),
            short=int(row["uri"] in short),
        )
        counts[row["source"]] = counts.get(row["source"], SourceCount()) + one
    return dict(sorted(counts.items()))
