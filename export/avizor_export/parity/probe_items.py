"""Make the items that a graph is proven on: zeros, random ones, rows without values, and real ones where there are any."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Items
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.items.input_spec import InputSpec

BATCH_SIZES = (1, 2, 3, 8)
# Whole numbers of a tensor where no real item tells their range.
_LARGEST_RANDOM = 255


def random_items(spec: InputSpec, count: int, seed: int = 0, real: Items | None = None) -> Items:
    """Draw items of any value that the input may take: all of uint8; -1..1 for sound; a normal distribution for the rest.

    Whole numbers of a tensor, such as tokens, are drawn from the range of the real items, or else from 0 to 255.
    """
    rng, tensor = np.random.default_rng(seed), spec.tensor()
    shape = (count, *tensor.item_shape)
    if np.issubdtype(np.dtype(tensor.dtype), np.integer):
        known = spec.front_end_parameters is None and real is not None and real.size
        least, largest = (int(real.min()), int(real.max())) if known and real is not None else (0, _LARGEST_RANDOM)
        return rng.integers(least, largest, shape, endpoint=True).astype(tensor.dtype)
    if spec.value_range:
        return rng.uniform(*spec.value_range, shape).astype(tensor.dtype)
    mean, std = spec.usual_values()
    return (mean + std * rng.standard_normal(shape)).astype(tensor.dtype)


def items_by_kind(spec: InputSpec, real: Items | None) -> dict[str, Items]:
    """Return as many items of each kind as the largest batch has: raw items [8, *item_shape]."""
    most, tensor = max(BATCH_SIZES), spec.tensor()
    shape = (most, *tensor.item_shape)
    kinds = {"zeros": np.zeros(shape, tensor.dtype), "random": random_items(spec, most, real=real)}
    if spec.nan_is_missing:
        kinds["missing"] = np.full(shape, np.nan, tensor.dtype)
    if real is not None and len(real):
        kinds["real"] = np.resize(real[evenly_spaced(len(real), most)], shape).astype(tensor.dtype, copy=False)
    return kinds


def rows_of_batch(size: int) -> slice:
    """Return which of the 8 items a batch is made of: from the middle, so that each has had others before and after it."""
    start = (max(BATCH_SIZES) - size + 1) // 2
    return slice(start, start + size)
