"""Build the rows of the tables, and count them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from pathlib import PurePath
from typing import Any

from avizor_inference.arrays import Array
from avizor_inference.classify import ClassProbability, present_classes, top_k
from avizor_inference.errors import DecoderEnded, EngineError, InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.base import Span
from avizor_inference.judged_rows import Columns, TableRow, span_columns
from avizor_pipeline.models import JobModel
from avizor_pipeline.sinks.part_files import SourceCount


def window_columns(model: JobModel, entries: Sequence[Entry], spans: Sequence[Span | None]) -> Columns:
    """Return the columns that every row of `windows` has, for some windows.

    entries: the item of each. spans: None for all if the items are no recordings.
    """
    count = len(spans)
    known = [span for span in spans if span]
    return {
        "uri": [entry.uri for entry in entries],
        "source": [entry.source for entry in entries],
        **(span_columns(known, model.format.sample_rate if model.format else None) if known else {}),
        "model": [model.name] * count,
        "model_version": [model.choice.version] * count,
    }


def class_columns(labels: Sequence[str], probabilities: Array, thresholds: Sequence[float] = (), k: int = 3) -> Columns:
    """Return the columns of a classifier's windows. probabilities: float32[windows, classes].

    thresholds: see `mean_class_columns`. k: classes in `top_k`, at least 1.
    """
    best = [_structs(top_k(each, labels, k)) for each in probabilities]
    columns: Columns = {name: [first[name] for first, *_ in best] for name in ("label", "probability")}
    if thresholds:
        columns["labels"] = [_structs(present_classes(each, labels, thresholds)) for each in probabilities]
    return columns | {"top_k": best}


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


def dead_letter(entry: Entry, error: MediaError | InvalidInput | DecoderEnded | EngineError) -> TableRow:
    """Return the row of an item that cannot be read, or on which a model does not run. The file's name is in its message."""
    name = PurePath(entry.uri).name
    message = str(error)
    return {
        "uri": entry.uri,
        "source": entry.source,
        "offset": error.offset if isinstance(error, MediaError) else None,
        "stage": "run" if isinstance(error, EngineError) else "decode",
        "error_class": type(error).__name__,
        "message": message if name in message else f"{name}: {message}",
    }


def count_by_source(rows: Sequence[TableRow], short: Container[str]) -> dict[str, SourceCount]:
    """Count the items of one model by source. short: uris of the items that are shorter than the model's window."""
    by_source = defaultdict[str, list[TableRow]](list)
    for row in rows:
        by_source[row["source"]].append(row)
    return {
        source: SourceCount(
            recordings=len(of_source),
            anomalies=sum(bool(row.get("is_anomaly")) for row in of_source),
            not_judged=sum("not_judged" in row for row in of_source),
            short=sum(row["uri"] in short for row in of_source),
        )
        for source, of_source in sorted(by_source.items())
    }
