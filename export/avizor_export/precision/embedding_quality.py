"""Measure how well an embedding tells labels apart, beside principal components of the raw items at the same dimension."""

from __future__ import annotations

import numpy as np
from pydantic import JsonValue

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.parity.soundness import Run
from avizor_inference.arrays import Array
from avizor_inference.neighbourhoods import Indices, knn_accuracy, silhouette
from avizor_inference.principal_components import principal_components

EMBEDDING = "embedding"

# What is looked at: more items change the numbers little, and PCA of raw items needs memory for all of their values (128 MiB).
_MOST_ITEMS = 1000
_MOST_VALUES = 16 * 2**20

# Neighbours that vote, and the fewest items for it.
_NEIGHBOURS = 5
_FEWEST_ITEMS = 20

_BATCH = 32


def embedding_quality(run: Run, held_out: LabelledItems) -> dict[str, JsonValue]:
    """Return metrics of the embedding by name; none for a matrix of labels, or too few items or labels.

    `knn_accuracy`: share of items whose label most of the five nearest other items have. `silhouette`: -1 to 1. Distances are
    Euclidean. `pca_...`: the same for as many principal components of the raw items as the embedding has numbers, or as can be
    had of so few items. Missing values of raw items are the mean of their column. Empty if an embedding is not finite.
    """
    if held_out.labels.ndim != 1:
        return {}
    rows = _sample(held_out)
    labels = held_out.labels[rows]
    if len(rows) < _FEWEST_ITEMS or len(np.unique(labels)) < 2:
        return {}
    items = held_out.items[rows]
    batches = [run(np.ascontiguousarray(items[start : start + _BATCH])) for start in range(0, len(items), _BATCH)]
    if EMBEDDING not in batches[0]:
        return {}
    embedding = np.concatenate([batch[EMBEDDING] for batch in batches]).reshape(len(items), -1)
    if not np.isfinite(embedding).all():
        return {}
    raw = _filled(items.reshape(len(items), -1).astype(np.float64))
    components = principal_components(raw, embedding.shape[1])
    found: dict[str, JsonValue] = {"items": len(items), "dimensions": embedding.shape[1]}
    found |= _metrics("", embedding, labels)
    found["pca_dimensions"] = len(components.directions)
    return found | _metrics("pca_", components.place(raw), labels)


def _metrics(prefix: str, points: Array, labels: Indices) -> dict[str, JsonValue]:
    every = np.arange(len(points))
    return {
        f"{prefix}knn_accuracy": round(knn_accuracy(points, labels, every, _NEIGHBOURS), 4),
        f"{prefix}silhouette": None if (value := silhouette(points, labels)) is None else round(value, 4),
    }


def _sample(held_out: LabelledItems) -> Indices:
    """Return int64[n]: which items are looked at, drawn at random, the same ones in each run."""
    count, values = len(held_out.items), int(np.prod(held_out.items.shape[1:], dtype=np.int64))
    most = min(count, _MOST_ITEMS, max(1, _MOST_VALUES // max(values, 1)))
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False)).astype(np.int64)


def _filled(raw: Array) -> Array:
    """Return the items with the mean of a column where a value is not finite."""
    known = np.isfinite(raw)
    if known.all():
        return raw
    means = np.where(known, raw, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, raw, means)
