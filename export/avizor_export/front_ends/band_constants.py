"""Compute mean and standard deviation of each band (channel of images, mel band of sound) from training items."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def band_constants(batches: Iterable[Tensor]) -> dict[str, tuple[float, ...]]:
    """Return `mean` and `std` of each band over all batches [n, bands, values]: one pass, sums in float64.

    A band that never changes keeps its own scale: its std is 1. Raises ValueError if there are no items, or if a value is not
    finite.
    """
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    with torch.inference_mode():
        for batch in batches:
            values = batch.double()
            count += values.shape[0] * values.shape[2]
            total = total + values.sum(dim=(0, 2))
            squares = squares + (values * values).sum(dim=(0, 2))
    if count == 0:
        raise ValueError("no items to take mean and standard deviation from")
    mean = total / count
    std = torch.sqrt(torch.clamp(squares / count - mean * mean, min=0.0))
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise ValueError("the items hold values that are not finite, so that they have no mean and standard deviation")
    # What never changes is, for example, a mel band beyond the recording's bandwidth.
    std = torch.where(std < 1e-3, torch.ones_like(std), std)
    return {"mean": tuple(mean.float().tolist()), "std": tuple(std.float().tolist())}
