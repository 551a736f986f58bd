"""Give the gradients of operators that slide a window over one, two or more dimensions: convolutions and poolings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from avizor_inference.arrays import Array


@dataclass(frozen=True)
class _Windows:
    """Says where a window is at each of its places. Sizes are of each dimension but batch and channels.

    padded: of the input with its padding, and with what windows at its end reach beyond it. inside: where in it the input is.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padded: tuple[int, ...]
    inside: tuple[Any, ...]
    out: tuple[int, ...]

    @classmethod
    def of(cls, kernel: Sequence[int], x: Array, out: Array, attributes: Mapping[str, Any]) -> _Windows:
        """Read the attributes of a node that returned values of the shape of `out` for x."""
        sizes, places, rank = x.shape[2:], out.shape[2:], len(kernel)
        strides = tuple(attributes.get("strides", [1] * rank))
        dilations = tuple(attributes.get("dilations", [1] * rank))
        reach = [(n - 1) * step + (k - 1) * gap + 1 for n, step, k, gap in zip(places, strides, kernel, dilations, strict=True)]
        before = _padding(attributes, reach, sizes)
        after = _padding(attributes, reach, sizes, at_end=True)
        padded = [max(end, b + size + a) for end, b, size, a in zip(reach, before, sizes, after, strict=True)]
        inside = (..., *(slice(b, b + size) for b, size in zip(before, sizes, strict=True)))
        return cls(tuple(kernel), strides, dilations, tuple(padded), inside, places)

    def offsets(self) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
        """Yield each position in the kernel, in the order of memory, and which padded values it meets at all places."""
        for position in product(*map(range, self.kernel)):
            starts = [at * gap for at, gap in zip(position, self.dilations, strict=True)]
            ranges = zip(starts, self.out, self.strides, strict=True)
            yield position, (..., *(slice(start, start + (n - 1) * step + 1, step) for start, n, step in ranges))

    def pad(self, x: Array, value: float) -> Array:
        """Return x with its padding."""
        result = np.full((*x.shape[:2], *self.padded), value, np.float32)
        result[self.inside] = x
        return result


def _padding(
    attributes: Mapping[str, Any], reach: Sequence[int], sizes: Sequence[int], at_end: bool = False
) -> tuple[int, ...]:
    """Return the padding of each dimension before its first value, or after its last."""
    mode = attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(0, end - size) for end, size in zip(reach, sizes, strict=True)]
        return tuple(each - each // 2 if at_end is (mode == "SAME_UPPER") else each // 2 for each in total)
    pads = tuple(attributes.get("pads", [0] * 2 * len(sizes))) if mode == "NOTSET" else (0,) * 2 * len(sizes)
    return pads[len(sizes) :] if at_end else pads[: len(sizes)]


def convolution(x: Array, weights: Array, of_output: Array, attributes: Mapping[str, Any]) -> Array:
    """Return the gradient by the input. weights: float32[out, in / groups, *kernel]."""
    windows = _Windows.of(weights.shape[2:], x, of_output, attributes)
    groups = attributes.get("group", 1)
    by_group = of_output.reshape(len(x), groups, -1, *windows.out)
    kernels = weights.reshape(groups, -1, *weights.shape[1:])
    result = np.zeros((*x.shape[:2], *windows.padded), np.float32)
    for position, where in windows.offsets():
        at: Any = (..., *position)
        part = np.einsum("ngo...,goi->ngi...", by_group, kernels[at])
        result[where] += part.reshape(len(x), x.shape[1], *windows.out)
    return np.asarray(result[windows.inside])


def average_pool(x: Array, of_output: Array, attributes: Mapping[str, Any]) -> Array:
    """Return the gradient by the input: each window's is shared by its values, with `count_include_pad` by its padding too."""
    windows = _Windows.of(attributes["kernel_shape"], x, of_output, attributes)
    if attributes.get("count_include_pad", 0):
        sizes: Any = _sizes_with_padding(windows, x.shape[2:], attributes)
    else:
        ones = windows.pad(np.ones_like(x[:1, :1]), 0)
        sizes = sum(ones[where] for _, where in windows.offsets())
    share = of_output / sizes
    result = np.zeros((*x.shape[:2], *windows.padded), np.float32)
    for _, where in windows.offsets():
        result[where] += share
    return np.asarray(result[windows.inside])


def _sizes_with_padding(windows: _Windows, sizes: Sequence[int], attributes: Mapping[str, Any]) -> Array:
    """Return the size of each window: what ceil_mode lets it reach beyond the padding does not count."""
    pads = attributes.get("pads", [0] * 2 * len(sizes))
    ends = [size + before + after for size, before, after in zip(sizes, pads[: len(sizes)], pads[len(sizes) :], strict=True)]
    ones = np.zeros((1, 1, *windows.padded), np.float32)
    inside: Any = (..., *(slice(0, end) for end in ends))
    ones[inside] = 1
    return np.asarray(sum(ones[where] for _, where in windows.offsets()))


def max_pool(x: Array, of_output: Array, attributes: Mapping[str, Any]) -> Array:
    """Return the gradient by the input: each window's belongs to the first of its largest values."""
    windows = _Windows.of(attributes["kernel_shape"], x, of_output, attributes)
    padded = windows.pad(x, -math.inf)
    places = [where for _, where in windows.offsets()]
    first = np.argmax(np.stack([padded[where] for where in places]), axis=0)
    result = np.zeros_like(padded)
    for index, where in enumerate(places):
        result[where] += np.where(first == index, of_output, 0)
    return np.asarray(result[windows.inside])
