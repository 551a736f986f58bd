"""Say how well labels agree with distances between points: by their nearest neighbours, and by the silhouette.

Distances are Euclidean. For cosine distances scale the points to length 1 first (`of_unit_length`): that gives the same order,
since the squared distance of two such points is 2 - 2 cos.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Array, Floats

Indices = NDArray[np.int64]

# Distances in memory at once: 32 MiB.
_DISTANCES = 4 * 2**20


def of_unit_length(points: Array) -> Array:
    """Return points[n, numbers] scaled to length 1; a point of zeros stays as it is."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(lengths > 0, lengths, 1.0), dtype=points.dtype)


def distances_from(points: Array, rows: Indices) -> Iterator[tuple[slice, Floats]]:
    """Yield, for some of `rows` at a time, float64[some, n]: squared distances of these points to all n points.

    The distance of a point to itself is infinite. The slice says which of `rows` they are.
    """
    centred = points.astype(np.float64)
    centred -= centred.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    step = max(1, _DISTANCES // max(1, len(points)))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        distances = squares[some, None] + squares - 2 * (centred[some] @ centred.T)
        np.maximum(distances, 0.0, out=distances)
        distances[np.arange(len(some)), some] = np.inf
        yield slice(start, start + len(some)), distances


def nearest(points: Array, rows: Indices, k: int) -> Indices:
    """Return int64[len(rows), k]: the k nearest other points of each of `rows`, nearest first. k: fewer than points."""
    found = np.empty((len(rows), k), np.int64)
    for part, distances in distances_from(points, rows):
        places = np.argpartition(distances, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distances, places, axis=1), axis=1, kind="stable")
        found[part] = np.take_along_axis(places, order, axis=1)
    return found


def knn_accuracy(points: Array, labels: Indices, rows: Indices, k: int) -> float:
    """Return the share of `rows` whose label most of their k nearest other points have, 0 to 1.

    labels: int64[n], from 0. Where several labels are equally frequent, the least counts.
    """
    votes = labels[nearest(points, rows, k)]
    answers = [np.bincount(each).argmax() for each in votes]
    return float(np.mean(np.array(answers) == labels[rows]))


def silhouette(points: Array, labels: Indices) -> float | None:
    """Return the mean silhouette of all points, -1 to 1; None if there are fewer than two labels, or as many as points.

    Rousseeuw, "Silhouettes", 1987: (b - a) / max(a, b), with a the mean distance to the other points of the same label, and b
    the least mean distance to those of another label. It is 0 for a point that is the only one of its label.
    """
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 2 <= len(counts) < len(labels):
        return None
    members = np.eye(len(counts))[codes]
    total = 0.0
    for part, distances in distances_from(points, np.arange(len(points))):
        np.sqrt(distances, out=distances)
        distances[np.isinf(distances)] = 0.0
        sums, own = distances @ members, codes[part]
        at = (np.arange(len(own)), own)
        within = sums[at] / np.maximum(counts[own] - 1, 1)
        means = sums / counts
        means[at] = np.inf
        nearest_other = means.min(axis=1)
        larger = np.maximum(within, nearest_other)
        values = (nearest_other - within) / np.where(larger > 0, larger, 1.0)
        total += float(values[counts[own] > 1].sum())
    return total / len(points)
