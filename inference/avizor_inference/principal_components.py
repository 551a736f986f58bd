"""Find the directions in which points differ most (PCA), exactly and without any library but numpy.

Pearson, "On lines and planes of closest fit to systems of points in space", 1901: they are the eigenvectors of the covariance
of the points. Where points have more numbers than there are points, those of the smaller matrix of inner products give the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avizor_inference.arrays import Array, Floats

# Points that are computed with at once, as float64.
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Components:
    """Holds directions, the one of most variance first.

    mean: float64[numbers] of the points. directions: float64[k, numbers], orthogonal and of length 1; the largest entry of each
    is positive, so that a run gives the signs of another run. variances: float64[k]. total: variance over all directions.
    """

    mean: Floats
    directions: Floats
    variances: Floats
    total: float

    def place(self, points: Array) -> Floats:
        """Return float64[n, k]: where points[n, numbers] lie along the directions."""
        blocks = [(block - self.mean) @ self.directions.T for block in _blocks(points)]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.directions)))


def principal_components(points: Array, count: int) -> Components:
    """Return at most `count` directions of points[n, numbers]; fewer if there are fewer points or numbers.

    Memory: that of a square matrix of the points or of their numbers, of which there are fewer, and of the points as float64
    where they are fewer than their numbers.
    """
    length, numbers = points.shape
    mean: Floats = points.mean(axis=0, dtype=np.float64)
    if length > numbers:
        covariance = sum(((block - mean).T @ (block - mean) for block in _blocks(points)), np.zeros((numbers, numbers)))
        squares, vectors = np.linalg.eigh(covariance)
        directions = vectors.T
    else:
        centred = points - mean
        squares, vectors = np.linalg.eigh(centred @ centred.T)
        directions = vectors.T @ centred
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        directions /= np.where(lengths > 0, lengths, 1.0)
    squares = np.maximum(squares, 0.0)
    chosen = np.argsort(-squares, kind="stable")[: min(count, length, numbers)]
    directions = directions[chosen]
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    scale = 1.0 / max(length - 1, 1)
    return Components(mean, directions, squares[chosen] * scale, float(squares.sum() * scale))


def _blocks(points: Array) -> Iterator[Floats]:
    for start in range(0, len(points), _BLOCK):
        yield points[start : start + _BLOCK].astype(np.float64)
