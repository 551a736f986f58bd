"""Choose the rows of a bank: all of them, or so many that every other one has one of them near."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_ROWS = 2048
MOST_BYTES = 8 * 2**20
MOST_CANDIDATES = 20_000


def coreset(vectors: Tensor, seed: int) -> Tensor:
    """Return rows of float32[n, D]: at most MOST_ROWS and MOST_BYTES.

    Each further row is the one that is farthest from those chosen so far (Gonzalez, "Clustering to minimize the maximum
    intercluster distance", 1985); so the rows are those of a bank half as large, and more.
    """
    most = max(1, min(MOST_ROWS, MOST_BYTES // (4 * vectors.shape[1])))
    if len(vectors) <= most:
        return vectors
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))[:MOST_CANDIDATES]
    candidates = vectors[order]
    chosen, distances = [0], ((candidates - candidates[0]) ** 2).sum(dim=1)
    while len(chosen) < most:
        farthest = int(distances.argmax())
        chosen.append(farthest)
        distances = torch.minimum(distances, ((candidates - candidates[farthest]) ** 2).sum(dim=1))
    return candidates[torch.tensor(chosen)]
