"""Say how far a map of two columns can be trusted: which neighbours it invents, and which it tears apart.

Venna and Kaski, "Neighborhood preservation in nonlinear projection methods", 2001. With r(i, j) the rank of j among the points
nearest to i before, and U(i) the k nearest to i in the map that are not among the k nearest before,

    trustworthiness = 1 - 2 / (n k (2 n - 3 k - 1)) * sum over i, and j in U(i), of (r(i, j) - k).

Continuity is the same with both sides exchanged. Both are 1 where the map keeps all neighbours. Of a large map the sum goes
over a sample of i, while j goes over all points: so ranks are those of the whole, in memory that grows with n.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from avizor_inference.arrays import Array, Floats
from avizor_inference.neighbourhoods import Indices, distances_from, knn_accuracy, nearest
from avizor_inference.strict_json import Strict
from avizor_pipeline.projection.labels import Labels

# Points that are looked at one by one: 1,000 leave a standard error under 0.016 of an accuracy.
SAMPLE = 1000

# Neighbours of each point.
_NEIGHBOURS = 10


class LabelTrust(Strict):
    """Holds how often the k nearest points have, by majority, a point's own label: before and in the map, 0 to 1.

    most_frequent: what always answering the most frequent label would give.
    """

    labels: str
    classes: int
    labelled: int
    points: int = Field(description="labelled points that were looked at")
    before: float
    after: float
    most_frequent: float


class Trust(Strict):
    """Holds how well a map keeps neighbourhoods. points: those that were looked at one by one; k: neighbours of each."""

    points: int
    k: int
    trustworthiness: float
    continuity: float
    knn_accuracy: LabelTrust | None = None


def trust_of(before: Array, after: Floats, rows: Indices, labels: Labels | None, seed: int) -> Trust:
    """Compare points[n, numbers] with their places in a map[n, 2].

    rows: the points that may be looked at; at most SAMPLE of them are drawn. labels: of all points, or None. n: at least 3.
    """
    rng = np.random.default_rng(seed)
    sample, k = _drawn(rows, rng), neighbours_of(len(before))
    return Trust(
        points=len(sample),
        k=k,
        trustworthiness=_kept(before, after, sample, k),
        continuity=_kept(after, before, sample, k),
        knn_accuracy=_of_labels(before, after, rows, labels, rng) if labels else None,
    )


def neighbours_of(points: int) -> int:
    """Return how many neighbours are looked at: ten, or fewer than half of the points."""
    return max(1, min(_NEIGHBOURS, (points - 1) // 2))


def _of_labels(before: Array, after: Floats, rows: Indices, labels: Labels, rng: np.random.Generator) -> LabelTrust | None:
    labelled = np.flatnonzero(labels.codes >= 0)
    sample = _drawn(np.flatnonzero(np.isin(labelled, rows)), rng)
    codes = labels.codes[labelled]
    if len(labelled) < 3 or len(np.unique(codes)) < 2 or not len(sample):
        return None
    k = neighbours_of(len(labelled))
    return LabelTrust(
        labels=labels.what,
        classes=len(labels.names),
        labelled=len(labelled),
        points=len(sample),
        before=knn_accuracy(before[labelled], codes, sample, k),
        after=knn_accuracy(after[labelled], codes, sample, k),
        most_frequent=float(np.bincount(codes).max() / len(codes)),
    )


def _drawn(rows: Indices, rng: np.random.Generator) -> Indices:
    return np.sort(rng.choice(rows, SAMPLE, replace=False)) if len(rows) > SAMPLE else rows


def _kept(first: Array, second: Array, rows: Indices, k: int) -> float:
    """Return 1 minus the penalty for the neighbours in `second` that are far from each other in `first`."""
    neighbours, penalty = nearest(second, rows, k), 0
    for part, distances in distances_from(first, rows):
        found = np.take_along_axis(distances, neighbours[part], axis=1)
        for place in range(k):
            ranks = 1 + (distances < found[:, place : place + 1]).sum(axis=1)
            penalty += int(np.maximum(ranks - k, 0).sum())
    n = len(first)
    largest = len(rows) * k * (2 * n - 3 * k - 1) / 2
    return 1 - penalty / largest if largest > 0 else 1.0
