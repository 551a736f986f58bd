"""Find the items of a job that are most similar to one of them, by their embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from avizor_inference.arrays import Floats
from avizor_inference.error_text import counted
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.strict_json import Strict
from avizor_pipeline.projection.embeddings import chosen_model, embedded_batches, finished_job, vectors_of
from avizor_pipeline.projection.methods import Metric
from avizor_pipeline.sinks.output_files import OutputPath

# Windows of a long item that are compared with the others: as many, at equal steps.
_MOST_WINDOWS = 256


class Neighbour(Strict):
    """Holds one item: its window that is nearest. distance: 1 - cosine, 0 to 2, or the Euclidean distance."""

    uri: str
    distance: float
    channel: int | None
    start_s: float | None
    source: str
    label: str | None
    probability: float | None
    score: float | None
    is_anomaly: bool | None


_SHOWN = [name for name in Neighbour.model_fields if name != "distance"]


class Neighbours(Strict):
    """Holds the items nearest to one, nearest first. windows: those of the item that were compared with all others."""

    uri: str
    model: str
    metric: Metric
    windows: int = Field(description="windows of the item that were compared")
    neighbours: list[Neighbour]


def find_neighbours(
    out: OutputPath,
    uri: str,
    k: int,
    name: str | None = None,
    metric: Metric | None = None,
    window: int | None = None,
    start_s: float | None = None,
) -> Neighbours:
    """Return the k items whose embeddings are nearest to those of an item; an item counts by its nearest window.

    window: index of the one window that is meant, from 0, over all channels; start_s: or the one that holds this second.
    metric: None: cosine for a classifier, Euclidean for any other model. Memory: one batch of rows, and the k items.
    Raises SettingsError, JobError.
    """
    with finished_job(out) as settings:
        model, _ = chosen_model(out, settings, name)
        own = _rows_of(out, model.name, uri)
        metric = metric or ("euclidean" if own["label"].null_count == own.num_rows else "cosine")
        queries = _measured(vectors_of(_chosen(own, uri, window, start_s)), metric)
        if not np.isfinite(queries).all():
            raise JobError(f"the embedding of {uri} holds values that are not finite, so nothing is near it")
        best: dict[str, tuple[float, dict[str, Any]]] = {}
        for batch in embedded_batches(out, model.name):
            others = batch.filter(pc.not_equal(batch["uri"], uri))
            if others.num_rows:
                _take(best, others, _distances(queries, _measured(vectors_of(others), metric)), k)
    found = [Neighbour(distance=_shown(square, metric), **row) for square, row in _nearest_first(best, k)]
    return Neighbours(uri=uri, model=model.name, metric=metric, windows=len(queries), neighbours=found)


def _rows_of(out: OutputPath, model: str, uri: str) -> pa.RecordBatch:
    found = [batch.filter(pc.equal(batch["uri"], uri)) for batch in embedded_batches(out, model)]
    found = [batch for batch in found if batch.num_rows]
    if not found:
        example = next((batch["uri"][0].as_py() for batch in embedded_batches(out, model)), "")
        raise SettingsError(f"{uri} is not an item of the results; they name items like {example}")
    table = pa.Table.from_batches(found).sort_by([("channel", "ascending"), ("start_sample", "ascending")])
    return table.combine_chunks().to_batches()[0]


def _chosen(own: pa.RecordBatch, uri: str, window: int | None, start_s: float | None) -> pa.RecordBatch:
    if start_s is not None:
        begins = np.array([np.inf if each is None else each for each in own["start_s"].to_pylist()])
        before = np.flatnonzero(begins <= start_s)
        if not len(before):
            raise SettingsError(f"--start {start_s:g}: no window of {uri} begins at that second or before it")
        return own.slice(int(before[begins[before].argmax()]), 1)
    if window is not None:
        if window >= own.num_rows:
            raise SettingsError(f"--window {window}: {uri} has {counted(own.num_rows, 'window')}, from 0 to {own.num_rows - 1}")
        return own.slice(window, 1)
    places = np.unique(np.linspace(0, own.num_rows - 1, min(_MOST_WINDOWS, own.num_rows)).round().astype(np.int64))
    return own.take(pa.array(places))


def _measured(vectors: NDArray[np.float32], metric: Metric) -> Floats:
    points = vectors.astype(np.float64)
    if metric == "euclidean":
        return points
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(lengths > 0, lengths, 1.0))


def _shown(square: float, metric: Metric) -> float:
    return square / 2 if metric == "cosine" else square**0.5


def _distances(queries: Floats, points: Floats) -> Floats:
    """Return float64[n]: the squared distance of each point to the nearest query; a value that is not finite is far."""
    squares = (points**2).sum(axis=1)[:, None] + (queries**2).sum(axis=1) - 2 * (points @ queries.T)
    return np.asarray(np.nan_to_num(np.maximum(squares.min(axis=1), 0.0), nan=np.inf))


def _take(best: dict[str, tuple[float, dict[str, Any]]], rows: pa.RecordBatch, distances: Floats, k: int) -> None:
    """Take in a batch. What is not among the k nearest items is dropped: a later window may bring it back."""
    limit = max(each for each, _ in best.values()) if len(best) >= k else np.inf
    seen = set[str]()
    for place in np.argsort(distances, kind="stable").tolist():
        distance = float(distances[place])
        if distance >= limit or len(seen) >= k:
            break
        uri = rows["uri"][place].as_py()
        seen.add(uri)
        known = best.get(uri)
        if known is None or distance < known[0]:
            best[uri] = (distance, {name: rows[name][place].as_py() for name in _SHOWN})
    for _, row in _nearest_first(best, len(best))[k:]:
        del best[row["uri"]]


def _nearest_first(best: dict[str, tuple[float, dict[str, Any]]], k: int) -> list[tuple[float, dict[str, Any]]]:
    return sorted(best.values(), key=lambda each: (each[0], each[1]["uri"]))[:k]
