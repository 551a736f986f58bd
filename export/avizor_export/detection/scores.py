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
    """Return the mean distance of each item to its nearest rows of a bank, as a column [N, 1].

    view: turns features into vectors [N, D]. mean: float32[D], taken from the vectors. turn: float32[D, D'] that they are
    multiplied by, such as a whitening; None leaves them. bank: float32[rows, D'], of vectors after that. nearest: how many rows
    count.
    """

    mean: Tensor
    turn: Tensor | None
    bank: Tensor
    squares: Tensor

    def __init__(self, view: nn.Module, mean: Tensor, turn: Tensor | None, bank: Tensor, nearest: int = 1) -> None:
        super().__init__()
        self.view, self.nearest = view, nearest
        for name, value in (("mean", mean), ("turn", turn), ("bank", bank), ("squares", (bank * bank).sum(dim=1))):
            self.register_buffer(name, value)

    def forward(self, features: Tensor, error: Tensor) -> Tensor:
        """Compute it from the features [N, ...]."""
        vectors = self.vectors(features)
        # |v - b|^2 less |v|^2, by one matrix product. Its rounding is that of |v|^2: it says which rows are near, not how near.
        places = (self.squares - 2 * (vectors @ self.bank.T)).topk(self.nearest, dim=1, largest=False).indices
        differences = vectors[:, None] - self.bank[places]
        return (differences * differences).sum(dim=2).sqrt().mean(dim=1, keepdim=True)

    def vectors(self, features: Tensor) -> Tensor:
        """Return what is compared with the rows of the bank: [N, D']."""
        vectors: Tensor = self.view(features) - self.mean
        return vectors if self.turn is None else vectors @ self.turn


class Scores(nn.Module):
    """Return the score that decides and its parts, each a column [N, 1].

    parts: what computes each part from features and squared errors, by the name of its output. weights: of the parts, sum 1.
    `fit` brings the parts to one scale.
    """

    weights: Tensor
    floor: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, parts: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.register_buffer("weights", torch.tensor([[weights[name] for name in parts]]))
        for name in ("floor", "mean", "deviation"):
            self.register_buffer(name, torch.ones(1, len(parts)))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what `forward` returns."""
        return ("score", *self.parts)

    def fit(self, features: Tensor, error: Tensor) -> None:
        """Bring the parts to mean 0 and deviation 1 of held-out normal items: features and squared errors [n, ...]."""
        values = torch.cat([part(features, error) for part in self.parts.values()], dim=1)
        self.floor = FLOOR * values.median(dim=0, keepdim=True).values.clamp(min=1e-20)
        logarithms = torch.log(values + self.floor)
        self.mean = logarithms.mean(dim=0, keepdim=True)
        # With few or equal items the deviation is not known: then no score may be a billion times the other.
        self.deviation = logarithms.std(dim=0, keepdim=True, correction=0).clamp(min=0.05)

    def forward(self, features: Tensor, error: Tensor) -> tuple[Tensor, ...]:
        """Return the scores in the order of `names`."""
        parts = [part(features, error) for part in self.parts.values()]
        z = (torch.log(torch.cat(parts, dim=1) + self.floor) - self.mean) / self.deviation
        exponent = (z * self.weights).sum(dim=1, keepdim=True) / SOFTNESS
        return (torch.exp(exponent.clamp(max=LARGEST_EXPONENT)), *parts)
