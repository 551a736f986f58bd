"""Choose the network of a detector by the shape of its features, and for rows by their variance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The latent space of rows has as many numbers as principal components that explain this share of the variance, at most so many.
SHARE = 0.95
MOST_COMPONENTS = 64
WIDTH = (64, 256)
MOST_ROWS = 4096  # of the items that the components are computed from
SMALLEST_MAP = 4  # an image is halved until it is about as high and wide
CHANNELS = (16, 32, 64)


def suggested_spec(items: Tensor, *, is_sound: bool = False) -> str:
    """Return the spec of an autoencoder for items float32[n, ...]: rows of numbers, signals, or maps: images or log-mels."""
    shape = tuple(items.shape[1:])
    if len(shape) == 1:
        width = min(max(8 * shape[0], WIDTH[0]), WIDTH[1])
        return f"fc{width} fc{width // 2} latent{min(components(items), max(1, shape[0] - 1))}"
    if len(shape) == 2 or is_sound:
        return "conv16s2bn conv32s2bn conv64s2bn latent24"
    halvings = max(2, math.ceil(math.log2(max(shape[1:]) / SMALLEST_MAP)))
    layers = (CHANNELS[min(layer, len(CHANNELS) - 1)] for layer in range(halvings))
    return " ".join([*(f"conv{channels}s2bn" for channels in layers), "fc128bn", "latent16"])


def components(items: Tensor) -> int:
    """Return how many principal components explain SHARE of the variance of rows [n, D], 1 to MOST_COMPONENTS."""
    rows = items[:MOST_ROWS].double()
    variances = torch.linalg.svdvals(rows - rows.mean(dim=0)) ** 2
    needed = int(torch.searchsorted(variances.cumsum(0) / variances.sum().clamp(min=1e-30), SHARE)) + 1
    return min(needed, MOST_COMPONENTS, len(variances))
