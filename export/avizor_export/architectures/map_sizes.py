"""Find the sizes of maps: what a stack of layers leaves of an input, without computing it."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

# channels, height, width of one item
Shape = tuple[int, int, int]


def map_after(features: nn.Sequential, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the map after `features`. shape: channels, height, width; or channels, steps.

    Raises ValueError naming the layer for which the map is too small.
    """
    with torch.device("meta"):
        items = torch.zeros(1, *shape)
    for layer in features:
        before = tuple(items.shape[1:])
        try:
            items = copy.deepcopy(layer).to("meta").eval()(items)
        except RuntimeError as error:
            raise ValueError(
                f"an input of {_by(shape)} is too small: {layer} would be given a map of {_by(before)}; "
                "use a larger input, fewer pools or strides, or more padding"
            ) from error
    return tuple(items.shape[1:])


def flattened(features: nn.Sequential, shape: tuple[int, ...]) -> int:
    """Return the numbers in the map after `features`, for the linear layer that follows."""
    return math.prod(map_after(features, shape))


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
