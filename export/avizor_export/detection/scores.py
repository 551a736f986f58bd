"""Compute scores of items inside the graph: the reconstruction error, the distance to normal items, and both together.

A score that decides is made of the logarithms of the others: each is brought to mean 0 and deviation 1 of normal items that
were held out, their weighted mean is z, and the score is exp(z / SOFTNESS). It is positive, and its power mean over the
windows of a recording (of order 8, item_score.py) is the mean of exp(z), to the power of 1/8.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

SOFTNESS = 8.0
LARGEST_EXPONENT = 80.0  # of exp, in float32
# Added before logarithms, as a share of the median of held-out normal items: an item of the training has a distance of 0.
FLOOR = 1e-2


def mean_error(error: Tensor) -> Tensor:
    """Return the mean squared reconstruction error of each item, [N, 1], from squared errors [N, ...]."""
    return error.flatten(1).mean(dim=1, keepdim=True)


class MeanError(nn.Module):
    """Return the mean squared reconstruction error of each item, as a column [N, 1]."""

    def forward(self, features: Tensor, error: Tensor) -> Tensor:
        """Compute it from the squared errors [N, ...]."""
        return mean_error(error)


class NeighbourDistance(nn.Module):
    """Return the distance of each item to its nearest row of a bank, as a column [N, 1].

    view: turns features into vectors [N, D]. mean: float32[D], taken from the vectors. turn: float32[D, D'] that they are
    multiplied by, such as a whitening. None leaves them. bank: float32[rows, D'], of vectors after that.
    """

    mean: Tensor | None
    turn: Tensor | None
    bank: Tensor
    offsets: Tensor

    def __init__(self, view: nn.Module, mean: Tensor | None, turn: Tensor | None, bank: Tensor) -> None:
        super().__init__()
        self.view = view
        for name, value in (("mean", mean), ("turn", turn), ("bank", bank), ("offsets", -(bank * bank).sum(dim=1) / 2)):
            self.register_buffer(name, value)

    def forward(self, features: Tensor, error: Tensor) -> Tensor:
        """Compute it from the features [N, ...]."""
        vectors = self.vectors(features)
        # Half of |v|^2 - |v - b|^2, by one matrix product. It says which row is nearest, but not how near: its rounding is that
        # of |v|^2. A small node costs about half a microsecond, so there are few: `embedding` is one, indexing would be three.
        nearest = nn.functional.linear(vectors, self.bank, self.offsets).argmax(dim=1)
        distance: Tensor = torch.linalg.vector_norm(vectors - nn.functional.embedding(nearest, self.bank), dim=1, keepdim=True)
        return distance

    def vectors(self, features: Tensor) -> Tensor:
        """Return what is compared with the rows of the bank: [N, D']."""
        vectors: Tensor = self.view(features)
        vectors = vectors if self.mean is None else vectors - self.mean
        return vectors if self.turn is None else vectors @ self.turn


class Scores(nn.Module):
    """Return the score that decides and its parts, each a column [N, 1].

    parts: what computes each part from features and squared errors, by the name of its output. weights: of the parts, sum 1.
    `fit` brings the parts to one scale.
    """

    weights: Tensor
    floor: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, parts: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.register_buffer("weights", torch.tensor([weights[name] for name in parts]))
        # What `fit` knows, as one matrix product in the graph: small nodes cost as much as large ones.
        self.register_buffer("floor", torch.ones(1, len(parts)))
        self.register_buffer("slope", torch.ones(len(parts), 1))
        self.register_buffer("offset", torch.zeros(1))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what `forward` returns."""
        return ("score", *self.parts)

    def values(self, features: Tensor, error: Tensor) -> Tensor:
        """Return the parts, [N, parts], from features and squared errors [N, ...]."""
        return torch.cat([part(features, error) for part in self.parts.values()], dim=1)

    def fit(self, values: Tensor) -> None:
        """Bring the parts to mean 0 and deviation 1 of held-out normal items: `values` of them."""
        self.floor = FLOOR * values.median(dim=0, keepdim=True).values.clamp(min=1e-20)
        logarithms = torch.log(values + self.floor)
        # With few or equal items the deviation is not known: then no score may be a billion times the other.
        deviation = logarithms.std(dim=0, correction=0).clamp(min=0.05)
        slope = self.weights / deviation / SOFTNESS
        self.slope, self.offset = slope[:, None], -(logarithms.mean(dim=0) * slope).sum()[None]

    def forward(self, features: Tensor, error: Tensor) -> tuple[Tensor, ...]:
        """Return the scores in the order of `names`."""
        parts = [part(features, error) for part in self.parts.values()]
        exponent = torch.addmm(self.offset, torch.log(torch.cat(parts, dim=1) + self.floor), self.slope)
        return (torch.exp(exponent.clamp(max=LARGEST_EXPONENT)), *parts)
