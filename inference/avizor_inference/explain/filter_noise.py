"""Tell filters that have learned something from fresh weights: in noise, neighbouring weights have nothing to do with each other.

The test of one filter is that of Box and Pierce for white noise ("Distribution of residual autocorrelations", 1970) in one or two
dimensions: for each direction and distance, the products of two such weights are added up, over all input channels. Fresh weights
are independent, and as often positive as negative. With random signs each sum has the mean 0, and for its variance the sum of the
squared products. So the sum of (sum squared / variance) over the steps has about a chi-square distribution. No scale of the
weights changes it: neither the kind of initialisation nor a folded batch norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from avizor_inference.arrays import Floats

# From one weight to the other, by the number of dimensions of a filter.
_STEPS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((1,), (2,), (3,), (4,)),
    2: ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)),
}
# A step with fewer pairs of weights is left out; a filter with fewer pairs over all steps cannot be judged.
_FEWEST_OF_A_STEP = 3
_FEWEST_PAIRS = 16
# With fewer filters, chance decides the share of a network.
_FEWEST_FILTERS = 16
# A network with a larger share of noise gets a warning. docs/decisions/0050 has the error rates.
MOST_NOISE = 0.6


@dataclass(frozen=True)
class NetworkNoise:
    """Holds how much of a network's convolutions looks like fresh weights.

    share: estimated share of its filters that cannot be told from noise, 0 to 1; None if the network cannot be judged. layers:
    the same for each layer that was judged, by name, in the order of the graph. filters: how many were judged. reason: why the
    network cannot be judged; empty if it can.
    """

    share: float | None
    layers: dict[str, float] = field(default_factory=dict)
    filters: int = 0
    reason: str = ""

    @property
    def warning(self) -> str:
        """Return what is to be said about it, without a full stop; empty if there is nothing to say."""
        if self.share is None or self.share <= MOST_NOISE:
            return ""
        return (
            f"{self.share:.0%} of the filters look like fresh weights: the network was hardly trained, or its weights were not "
            "loaded; check its metrics on held-out items"
        )


def noise_of(weights: Floats) -> Floats:
    """Return for each filter the probability that fresh weights have neighbours at least as much alike: float64[filters].

    weights: [filters, channels, *kernel]. About 0 for a filter that has learned a shape, any number from 0 to 1 for noise. NaN
    where nothing can be told: for zeros, and for filters that have hardly any neighbours, such as those of 1x1.
    """
    steps = _steps(weights.shape)
    if not steps:
        return np.full(len(weights), np.nan)
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)))
    scaled = weights / np.where(largest > 0, largest, 1).reshape(-1, *[1] * (weights.ndim - 1))
    squares, degrees = np.zeros(len(weights)), np.zeros(len(weights))
    for step in steps:
        products = _products(scaled, step).reshape(len(weights), -1)
        variance = (products**2).sum(axis=1)
        squares += np.divide(products.sum(axis=1) ** 2, variance, out=np.zeros(len(weights)), where=variance > 0)
        degrees += variance > 0
    return np.array([_survival(*each) if each[1] else math.nan for each in zip(squares, degrees, strict=True)])


def share_of_noise(noise: Floats) -> float | None:
    """Return the estimated share of filters that are noise, 0 to 1; None without any number.

    noise: as `noise_of` returns it. Noise has the mean 1/2 there, and filters that have learned something nearly 0.
    """
    known = noise[~np.isnan(noise)]
    return min(1.0, 2 * float(known.mean())) if len(known) else None


def network_noise(layers: Iterable[tuple[str, Floats]]) -> NetworkNoise:
    """Judge a network by its convolutions: their names and weights[filters, channels, *kernel], in the order of the graph."""
    judged = {name: noise for name, weights in layers if not np.isnan(noise := noise_of(weights)).all()}
    count = sum(int((~np.isnan(noise)).sum()) for noise in judged.values())
    if count < _FEWEST_FILTERS:
        kind = f"only {count} filters" if count else "no filters"
        return NetworkNoise(None, filters=count, reason=f"it has {kind} whose weights have enough neighbours")
    shares = {name: share for name, noise in judged.items() if (share := share_of_noise(noise)) is not None}
    return NetworkNoise(float(np.mean(list(shares.values()))), shares, count)


def _steps(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the steps for filters of this shape; none if there are too few pairs of weights."""
    _, channels, *kernel = shape
    pairs = {
        step: channels * math.prod(max(0, size - abs(each)) for each, size in zip(step, kernel, strict=True))
        for step in _STEPS.get(len(kernel), ())
    }
    used = {step: count for step, count in pairs.items() if count >= _FEWEST_OF_A_STEP}
    return list(used) if sum(used.values()) >= _FEWEST_PAIRS else []


def _products(weights: Floats, step: tuple[int, ...]) -> Floats:
    """Return the products of each weight and the one that is a step away."""
    first, second = [slice(None)] * 2, [slice(None)] * 2
    for each in step:
        first.append(slice(max(0, -each), -each if each > 0 else None))
        second.append(slice(max(0, each), each if each < 0 else None))
    return weights[tuple(first)] * weights[tuple(second)]


def _survival(value: float, degrees: float) -> float:
    """Return the probability that a chi-square number is larger: Wilson and Hilferty's approximation (1931)."""
    spread = 2 / (9 * degrees)
    z = ((value / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))
