"""Turn features into the vectors whose distances count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The product of vectors and bank stays a small part of a network's work.
LARGEST_VECTOR = 1024


class Flat(nn.Module):
    """Return the features themselves as vectors: [N, ...] -> [N, D]."""

    def forward(self, features: Tensor) -> Tensor:
        """Flatten them."""
        return features.flatten(1)


class BandStatistics(nn.Module):
    """Return mean and deviation over time of each band: [N, channels, bands, frames] -> [N, 2 * channels * bands].

    When in the window a sound is does not matter.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Compute them; a band that does not change has a deviation of 0.001."""
        mean = features.mean(dim=3, keepdim=True)
        deviation = torch.sqrt(((features - mean) ** 2).mean(dim=3) + 1e-6)
        return torch.cat([mean[..., 0], deviation], dim=2).flatten(1)


class Pooled(nn.Module):
    """Return means over blocks of a map or a signal, few enough for vectors of at most LARGEST_VECTOR numbers.

    shape: of the features without the batch: channels and one or two sizes.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *sizes = shape
        block = 1
        while channels * _blocks(sizes, block) > LARGEST_VECTOR and block < max(sizes):
            block += 1
        pooling = nn.AvgPool2d if len(sizes) == 2 else nn.AvgPool1d
        self.pool = pooling(block, ceil_mode=True, count_include_pad=False) if block > 1 else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Compute them."""
        pooled: Tensor = self.pool(features)
        return pooled.flatten(1)


def _blocks(sizes: list[int], block: int) -> int:
    count = 1
    for size in sizes:
        count *= -(-size // block)
    return count


def view_of(shape: tuple[int, ...], *, is_sound: bool) -> nn.Module:
    """Return the view of features of this shape: numbers of a row, a map or a signal, or the log-mel of a sound."""
    if is_sound:
        return BandStatistics()
    return Flat() if len(shape) == 1 else Pooled(shape)
