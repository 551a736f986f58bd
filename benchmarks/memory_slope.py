"""Estimate how fast memory grows, and how sure that is, from samples that depend on each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Of the samples, in order of time. Means over so long a time hardly depend on each other, which the interval needs.
BLOCKS = 12
_SURE = 0.95


@dataclass(frozen=True)
class Slope:
    """Holds a slope in MiB an hour, its 95 % interval, and how much one block still says of the next (-1 to 1; 0 is good)."""

    value: float
    low: float
    high: float
    dependence: float


def slope(hours: NDArray[np.float64], mib: NDArray[np.float64]) -> Slope:
    """Fit a line to memory over time: both float[samples], evenly spaced, at least two for each block.

    Samples a few seconds apart are nearly the same number, and an interval that took them for independent ones would be far too
    narrow. So the samples are averaged over BLOCKS stretches of time, and the line goes through these means; the interval is
    that of Student with BLOCKS - 2 degrees of freedom. This is the method of batch means (Schmeiser 1982, Operations Research
    30.3), for a slope. What dependence is left between neighbours widens the interval, as in a first-order autoregression. Less
    than none does not narrow it: the interval may be too wide, not too narrow.
    """
    if len(mib) < 2 * BLOCKS:
        raise ValueError(f"{len(mib)} samples are too few; measure longer")
    x, y = (np.array([part.mean() for part in np.array_split(values, BLOCKS)]) for values in (hours, mib))
    x -= x.mean()
    value = float(x @ y / (x @ x))
    rest = y - y.mean() - value * x
    spread = float(rest @ rest)
    # Around a fitted line, independent values seem to depend on each other by about -3 / BLOCKS.
    dependence = float(rest[1:] @ rest[:-1]) / spread + 3 / BLOCKS if spread else 0.0
    widening = np.sqrt((1 + dependence) / (1 - dependence)) if 0 < dependence < 1 else 1.0
    half = stats.t.ppf((1 + _SURE) / 2, BLOCKS - 2) * widening * np.sqrt(spread / (BLOCKS - 2) / (x @ x))
    return Slope(value, float(value - half), float(value + half), dependence)
