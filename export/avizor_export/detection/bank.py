"""Choose the rows of a bank of normal vectors: all of them, or the means of as many groups of near ones."""

from __future__ import annotations

import torch
from torch import Tensor

# What the search costs grows with the rows. A network of spectrograms costs so much that more of them hardly show beside it.
MOST_ROWS = 512
MOST_ROWS_OF_SOUNDS = 2048
MOST_BYTES = 8 * 2**20
MOST_VECTORS = 20_000
ROUNDS = 10


def bank_of(vectors: Tensor, seed: int, *, is_sound: bool = False) -> Tensor:
    """Return the rows of a bank for vectors float32[n, D]: at most MOST_ROWS, of sounds MOST_ROWS_OF_SOUNDS, and MOST_BYTES.

    With more vectors the rows are the means of groups (Lloyd, "Least squares quantization in PCM", 1982). They lose less than
    vectors drawn by chance, which leave out rare ones, and than those that are farthest apart, which are rare ones alone.
    """
    most_rows = MOST_ROWS_OF_SOUNDS if is_sound else MOST_ROWS
    most = max(1, min(most_rows, MOST_BYTES // (4 * vectors.shape[1])))
    if len(vectors) <= most:
        return vectors
    generator = torch.Generator().manual_seed(seed)
    vectors = vectors[torch.randperm(len(vectors), generator=generator)[:MOST_VECTORS]]
    rows = _spread(vectors, most, generator)
    for _ in range(ROUNDS):
        rows = _means(vectors, _nearest(vectors, rows), rows)
    return rows


def _spread(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return so many vectors, each drawn by its squared distance to those before it.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
    """
    chosen, distances = [0], ((vectors - vectors[0]) ** 2).sum(dim=1)
    while len(chosen) < count:
        chosen.append(int(torch.multinomial(distances + 1e-30, 1, generator=generator)))
        distances = torch.minimum(distances, ((vectors - vectors[chosen[-1]]) ** 2).sum(dim=1))
    return vectors[torch.tensor(chosen)]


def _nearest(vectors: Tensor, rows: Tensor) -> Tensor:
    """Return the place of each vector's nearest row: int64[n]."""
    squares = (rows * rows).sum(dim=1)
    return torch.cat([(squares - 2 * (part @ rows.T)).argmin(dim=1) for part in vectors.split(1024)])


def _means(vectors: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """Return the mean of the vectors of each row; a row without any stays."""
    counts = torch.bincount(places, minlength=len(rows))[:, None]
    sums = torch.zeros_like(rows).index_add_(0, places, vectors)
    return torch.where(counts > 0, sums / counts.clamp(min=1), rows)
