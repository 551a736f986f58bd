"""The rows of the tables."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import MediaError
from avizor_inference.items.windows import Window
from avizor_pipeline.models import JobModel
from avizor_pipeline.shards import Recording
from avizor_pipeline.sinks.parts import SourceCount

TOP_K = 3


def window_row(model: JobModel, recording: Recording, window: Window) -> dict[str, Any]:
    """Return what every row of `windows` says, whatever the model."""
    end = window.start_sample + window.length
    return {
        "uri": recording.uri,
        "source": recording.source,
        "channel": window.channel,
        "start_sample": window.start_sample,
        "end_sample": end,
        "start_s": window.start_sample / model.format.sample_rate,
        "end_s": end / model.format.sample_rate,
        "model": model.name,
        "model_version": model.choice.version,
    }


def classified(labels: tuple[str, ...], probabilities: Array) -> dict[str, Any]:
    """Return the columns of a classifier. probabilities: float[classes]."""
    best = np.argsort(-probabilities, kind="stable")[:TOP_K]
    top = [{"label": labels[index], "probability": float(probabilities[index])} for index in best]
    return {**top[0], "top_k": top}


def dead_letter(recording: Recording, error: MediaError) -> dict[str, Any]:
    """Return the row of a file that could not be read."""
    return {
        "uri": recording.uri,
        "source": recording.source,
        "offset": error.offset,
        "stage": "decode",
        "error_class": type(error).__name__,
        "message": str(error),
    }


def count_by_source(rows: Sequence[dict[str, Any]], short: Container[str]) -> dict[str, SourceCount]:
    """Count the rows of one model by source. short: uris of recordings shorter than the model's window."""
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
