"""Find what is unusual in one place of a picture, where pictures of the same thing in the same place leave little to chance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from avizor_inference.errors import ExportError

COMPONENTS = 16
# With few items, so many for each component.
ITEMS_PER_COMPONENT = 3
MOST_ITEMS = 1000  # of which components are computed
FEWEST_ITEMS = 4 * ITEMS_PER_COMPONENT
FOLDS = 4  # what components leave is measured on pictures that they were not computed from
# The longer side is covered by about so many blocks, each of which overlaps the next one by half.
BLOCKS = 32
# From so many pixels of the longer side on, a place can be told from the whole.
SMALLEST_SIDE = 64
PICTURES = f"pictures of at least {SMALLEST_SIDE} pixels that are no narrow strips, {FEWEST_ITEMS} or more to train with"
# Pictures that resemble each other: the components explain this share of how others differ (docs/decisions/0093).
RESEMBLANCE = 0.8
# The covariance of a place is a mean over so many blocks in each direction, plus a share of the mean variance of all places.
NEARBY = 5
FLOOR = 0.1


class LocalResidual(nn.Module):
    """Return how unusual the most unusual block of each picture is, as a column [N, 1].

    A picture is averaged over overlapping blocks, and what principal components of normal pictures explain is taken away, such
    as light, or where the thing is. What is left is standardised in each place, with its colours together, and its largest mean
    square counts. Those of normal blocks are near 1.
    stride: of the blocks, in pixels; they are twice as wide. mean: float32[D] of all values of the averaged picture [C, H, W].
    components: float32[D, K]. turn: float32[C, C, H, W], the matrix of each place.
    """

    mean: Tensor
    components: Tensor
    turn: Tensor

    def __init__(self, stride: int, mean: Tensor, components: Tensor, turn: Tensor) -> None:
        super().__init__()
        self.blocks = blocks(stride)
        for name, value in (("mean", mean), ("components", components), ("turn", turn)):
            self.register_buffer(name, value)

    def forward(self, features: Tensor, error: Tensor) -> Tensor:
        """Compute it from the features [N, C, height, width]."""
        centred = self.blocks(features).flatten(1) - self.mean
        residual = (centred - centred @ self.components @ self.components.T).unflatten(1, tuple(self.turn.shape[1:]))
        standardised = (self.turn * residual.unsqueeze(1)).sum(dim=2)
        largest: Tensor = (standardised**2).mean(dim=1).flatten(1).amax(dim=1, keepdim=True)
        return largest


class Local(NamedTuple):
    """Holds the part of a score, and how much pictures resemble each other: what components explain of others, at most 1."""

    part: LocalResidual
    resemblance: float

    @property
    def applies(self) -> bool:
        """Return whether pictures resemble each other enough."""
        return self.resemblance >= RESEMBLANCE


def can_be_local(shape: tuple[int, ...], count: int, *, is_sound: bool) -> bool:
    """Return whether so many features of this shape are pictures in which places can be compared."""
    if is_sound or len(shape) != 3 or count < FEWEST_ITEMS:
        return False
    # Of a narrower strip more than half of each block would be outside.
    return max(shape[1:]) >= SMALLEST_SIDE and min(shape[1:]) >= _stride_of(shape)


def check_local(items: Tensor, *, is_sound: bool) -> None:
    """Raise ExportError unless the places of features float32[n, ...] can be compared."""
    if can_be_local(tuple(items.shape[1:]), len(items), is_sound=is_sound):
        return
    given = f"{len(items)} of {' x '.join(map(str, items.shape[1:]))}"
    raise ExportError(
        f"with_local: places are compared in {PICTURES}, and these are {given}"
        f"{', of sound' if is_sound else ''}; leave it out, or give larger or more pictures"
    )


def local_of(items: Tensor, seed: int) -> Local:
    """Compute it for normal pictures float32[n, C, height, width]: see `can_be_local`."""
    stride = _stride_of(tuple(items.shape[1:]))
    generator = torch.Generator().manual_seed(seed)
    chosen = items[torch.randperm(len(items), generator=generator)[:MOST_ITEMS]]
    averaged = torch.cat([blocks(stride)(batch) for batch in chosen.split(256)]).double()
    vectors = averaged.flatten(1)
    residuals, centred = _of_others(vectors)
    turn = _standardising(residuals.unflatten(1, tuple(averaged.shape[1:])))
    mean = vectors.mean(dim=0)
    part = LocalResidual(stride, mean.float(), _components(vectors - mean).float(), turn.float())
    explained = 1 - residuals.square().sum() / centred.square().sum().clamp(min=1e-30)
    return Local(part, float(explained))


def _stride_of(shape: tuple[int, ...]) -> int:
    """Return how many pixels are from one block to the next in pictures of a shape [C, height, width]."""
    return max(1, round(max(shape[1:]) / BLOCKS))


def blocks(stride: int) -> nn.AvgPool2d:
    """Return the mean over overlapping blocks; every pixel is in one."""
    return nn.AvgPool2d(2 * stride, stride, padding=(stride + 1) // 2, count_include_pad=False)


def _of_others(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return what components of the other folds leave of each vector, and how it differs from their mean: [n, D] both."""
    residuals, centred = torch.empty_like(vectors), torch.empty_like(vectors)
    for fold in range(FOLDS):
        inside = torch.arange(len(vectors)) % FOLDS == fold
        mean = vectors[~inside].mean(dim=0)
        components = _components(vectors[~inside] - mean)
        centred[inside] = vectors[inside] - mean
        residuals[inside] = centred[inside] - centred[inside] @ components @ components.T
    return residuals, centred


def _components(centred: Tensor) -> Tensor:
    """Return the principal components of vectors [n, D] of mean 0, as columns of length 1: [D, K]."""
    variances, places = torch.linalg.eigh(centred @ centred.T)
    count = min(COMPONENTS, max(1, len(centred) // ITEMS_PER_COMPONENT))
    variances, places = variances[-count:].flip(0), places[:, -count:].flip(1)
    there = variances > 1e-9 * variances[0].clamp(min=1e-30)  # pictures that are equal have none
    components: Tensor = centred.T @ (places[:, there] / variances[there].sqrt())
    return components


def _standardising(residuals: Tensor) -> Tensor:
    """Return the matrix of each place that makes the channels of residuals [n, C, H, W] uncorrelated, of variance 1."""
    count, channels, height, width = residuals.shape
    covariance = torch.einsum("nchw,ndhw->cdhw", residuals, residuals).reshape(1, channels**2, height, width) / count
    nearby = functional.avg_pool2d(covariance, NEARBY, 1, NEARBY // 2, count_include_pad=False)
    covariance = nearby.reshape(channels, channels, height, width).permute(2, 3, 0, 1)
    least = FLOOR * covariance.diagonal(dim1=2, dim2=3).mean().clamp(min=1e-12)
    turn: Tensor = torch.linalg.inv(torch.linalg.cholesky(covariance + least * torch.eye(channels, dtype=covariance.dtype)))
    return turn.permute(2, 3, 0, 1).contiguous()
