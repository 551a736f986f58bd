"""Build the rows of the tables, and count them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import PurePath
from typing import Any

from avizor_inference.anomaly.p_values import Judge, recordings_needed
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Array
from avizor_inference.classify import ClassProbability, present_classes, top_k
from avizor_inference.errors import DecoderEnded, InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.base import Span
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.part_files import SourceCount

# Column -> value. Columns that are left out are null.
TableRow = dict[str, Any]

# Column -> a value for each of some rows, which are next to each other. Columns that are left out are null.
Columns = dict[str, list[Any]]


def window_columns(model: JobModel, entry: Entry, spans: Sequence[Span | None]) -> Columns:
    """Return the columns that every row of `windows` has, for some windows of one item.

    spans: None for an item that is no recording.
    """
    count = len(spans)
    known = [span for span in spans if span]
    return {
        "uri": [entry.uri] * count,
        "source": [entry.source] * count,
        **(_span_columns(known, model.format.sample_rate if model.format else None) if known else {}),
        "model": [model.name] * count,
        "model_version": [model.choice.version] * count,
    }


def _span_columns(spans: Sequence[Span], rate: float | None) -> Columns:
    starts, ends = [span.start_sample for span in spans], [span.end_sample for span in spans]
    columns: Columns = {"channel": [span.channel for span in spans], "start_sample": starts, "end_sample": ends}
    if rate:
        columns |= {"start_s": [start / rate for start in starts], "end_s": [end / rate for end in ends]}
    return columns


def class_columns(labels: Sequence[str], probabilities: Array, thresholds: Sequence[float] = (), k: int = 3) -> Columns:
    """Return the columns of a classifier's windows. probabilities: float32[windows, classes].

    thresholds: see `mean_class_columns`. k: classes in `top_k`.
    """
    rows = [
        mean_class_columns(labels, each, thresholds) | {"top_k": _structs(top_k(each, labels, k))} for each in probabilities
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def score_columns(scores: Array, judge: Judge | None, source: str, alpha: float, *, is_short: bool) -> Columns:
    """Return the columns of an autoencoder's windows of one item; without p-values if the calibration cannot support alpha.

    scores: float32[windows >= 1]. is_short: whether the item is shorter than the model's window.
    """
    columns: Columns = {"score": scores.tolist()}
    if judge is None or judge.count(is_short=is_short) < recordings_needed(alpha):
        return columns
    p_values, judged_by = judge.window_p_values(source, scores, is_short=is_short)
    return columns | {"p_value": p_values.tolist(), "is_anomaly": (p_values <= alpha).tolist(), "judged_by": judged_by}


def item_row(model: JobModel, entry: Entry, windows: int, level: Level) -> TableRow:
    """Return the columns that every row of `recordings` has. windows: their number, over all channels; 1 for other items."""
    return {
        "uri": entry.uri,
        "source": entry.source,
        "model": model.name,
        "windows": windows,
        **({"peak": level.peak, "clipped": level.share_beyond} if model.format else {}),
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


def dead_letter(entry: Entry, error: MediaError | InvalidInput | DecoderEnded) -> TableRow:
    """Return the row of an item that could not be read. Its message begins with the file's name."""
    name = PurePath(entry.uri).name
    message = str(error)
    return {
        "uri": entry.uri,
        "source": entry.source,
        "offset": error.offset if isinstance(error, MediaError) else None,
        "stage": "decode",
        "error_class": type(error).__name__,
        "message": message if name in message else f"{name}: {message}",
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
