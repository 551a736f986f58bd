"""Compute mean and standard deviation of each band (channel of images or signals, mel band of sound) from training items."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# Spread of float32 numbers around a value, relative to it: less is the rounding of a constant.
_ROUNDING = torch.finfo(torch.float32).eps


def band_constants(batches: Iterable[Tensor], least_std: float = 1e-3) -> dict[str, tuple[float, ...]]:
    """Return `mean` and `std` of each band over all batches [n, bands, values]: one pass, in float64.

    A band that never changes keeps its own scale: its std is 1. That is one whose std is below least_std, or below the rounding
    of its mean. Means and squared deviations of the batches are merged after T. F. Chan, G. H. Golub and R. J. LeVeque,
    "Updating formulae and a pairwise algorithm for computing sample variances" (1979). Raises ValueError if there are no items,
    or if a value is not finite.
    """
    count, mean, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    with torch.inference_mode():
        for batch in batches:
            values = batch.double()
            added = values.shape[0] * values.shape[2]
            if not added:
                continue
            own_mean = values.mean(dim=(0, 2))
            step = own_mean - mean
            squares = (
                squares + ((values - own_mean[:, None]) ** 2).sum(dim=(0, 2)) + step**2 * (count * added / (count + added))
            )
            mean = mean + step * (added / (count + added))
            count += added
    if count == 0:
        raise ValueError("no items to take mean and standard deviation from")
    std = torch.sqrt(squares / count)
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise ValueError("the items hold values that are not finite, so that they have no mean and standard deviation")
    # What never changes is, for example, a mel band beyond the recording's bandwidth.
    least = torch.clamp(mean.abs() * _ROUNDING, min=least_std)
    std = torch.where(std <= least, torch.ones_like(std), std)
    return {"mean": tuple(mean.float().tolist()), "std": tuple(std.float().tolist())}
