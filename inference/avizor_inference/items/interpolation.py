"""Resize pixels without antialiasing: a pixel is made of its 4 or 16 nearest ones only, however much smaller the picture gets.

This is what `torch.nn.functional.interpolate(..., antialias=False)` does, and so torchvision's Resize(..., antialias=False) on
tensors. Pillow always antialiases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kernel = Literal["bilinear", "bicubic"]

# The shape of torch's cubic: its `A`. Pillow's is -0.5.
_CUBIC = np.float32(-0.75)


@dataclass(frozen=True)
class Part:
    """Describes which pixels of a side are wanted: `count` from `first` on. The side is resized from `old` to `new` pixels."""

    old: int
    new: int
    first: int
    count: int


class _Taps(NamedTuple):
    """Holds of which old pixels each new one is made, int64[taps, count], and with which weights, float32[taps, count]."""

    places: NDArray[np.int64]
    weights: NDArray[np.float32]


def interpolate(pixels: NDArray[np.uint8], rows: Part, columns: Part, kernel: Kernel) -> NDArray[np.uint8]:
    """Return a part of the resized picture: uint8[H, W, C] -> uint8[rows.count, columns.count, C].

    Only that part is computed. Sums are in float32 and rounded to the nearest whole number, as torch's are.
    """
    taps = _TAPS[kernel]
    vertical, horizontal = taps(rows), taps(columns)
    result = np.zeros((rows.count, columns.count, pixels.shape[2]), np.float32)
    for row, row_weight in zip(vertical.places, vertical.weights, strict=True):
        line = np.zeros_like(result)
        for column, weight in zip(horizontal.places, horizontal.weights, strict=True):
            line += pixels[row[:, None], column] * weight[:, None]
        result += line * row_weight[:, None, None]
    return np.rint(result).clip(0, 255).astype(np.uint8)


def _positions(part: Part) -> NDArray[np.float32]:
    """Return where the new pixels are among the old ones, float32[count], on a scale on which the centre of the first is 0."""
    scale = np.float32(part.old) / np.float32(part.new)
    half = np.float32(0.5)
    return (np.arange(part.first, part.first + part.count, dtype=np.float32) + half) * scale - half


def _bilinear(part: Part) -> _Taps:
    positions = np.maximum(_positions(part), np.float32(0))
    before = np.minimum(positions.astype(np.int64), part.old - 1)
    share = np.clip(positions - before.astype(np.float32), 0, 1)
    return _Taps(np.stack([before, np.minimum(before + 1, part.old - 1)]), np.stack([1 - share, share]))


def _bicubic(part: Part) -> _Taps:
    positions = _positions(part)
    before = np.floor(positions)
    share = positions - before
    places = before.astype(np.int64) + np.arange(-1, 3)[:, None]
    weights = np.stack([_far(share + 1), _near(share), _near(1 - share), _far(2 - share)])
    return _Taps(np.clip(places, 0, part.old - 1), weights.astype(np.float32))


def _near(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cubic for distances up to 1 (Keys 1981)."""
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _far(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cubic for distances of 1 to 2 (Keys 1981)."""
    return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC


_TAPS: dict[Kernel, Callable[[Part], _Taps]] = {"bilinear": _bilinear, "bicubic": _bicubic}
