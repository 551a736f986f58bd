"""Tell filters that have learned a shape from fresh weights, whose neighbours have nothing to do with each other.

Fresh weights are independent, and as often positive as negative. So a sum of products of two weights each has the mean 0, and
for its variance the sum of the squared products. Two tests use this, over all input channels of a filter:

* the products of weights side by side: in a smooth filter their sum is positive (a normal distribution, one-sided);
* Box and Pierce's test of white noise ("Distribution of residual autocorrelations", 1970), in one or two dimensions: the sums
  for several steps from one weight to the other, each squared and divided by its variance, are about a chi-square number
  together. It finds filters that oscillate, too.

The smaller p-value counts, corrected for the choice of two (Sidak). No scale of the weights changes it: neither the kind of
initialisation nor a folded batch norm.

A network may be trained although its filters still look like noise: small filters hardly move, and large layers after a short
training have moved in few directions only. So its p-value is also that of its layers' spectra (`layer_spectrum.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats
from avizor_inference.explain.layer_spectrum import sidak, spectrum_p_value
from avizor_inference.repository.reports import FilterNoise

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
    sums, variances = np.zeros((len(steps), len(weights))), np.zeros((len(steps), len(weights)))
    for row, step in enumerate(steps):  # one after the other: a large layer has many products
        products = _products(scaled, step).reshape(len(weights), -1)
        sums[row], variances[row] = products.sum(axis=1), (products**2).sum(axis=1)
    beside = [index for index, step in enumerate(steps) if sum(map(abs, step)) == 1]
    smooth = _normal_survival(_ratio(sums[beside].sum(axis=0), np.sqrt(variances[beside].sum(axis=0))))
    degrees = (variances > 0).sum(axis=0)
    any_order = _chi_square_survival(_ratio(sums**2, variances).sum(axis=0), np.maximum(degrees, 1))
    return np.where(degrees > 0, 1 - (1 - np.minimum(smooth, any_order)) ** 2, np.nan)


def share_of_noise(noise: Floats) -> float | None:
    """Return the estimated share of filters that are noise, 0 to 1; None without any number.

    noise: as `noise_of` returns it. Noise has the mean 1/2 there, and filters that have learned something nearly 0.
    """
    known = _known(noise)
    return min(1.0, 2 * float(known.mean())) if len(known) else None


def network_noise(layers: Iterable[tuple[str, Floats]]) -> FilterNoise:
    """Judge a network by its convolutions: their names and weights[filters, channels, *kernel], in the order of the graph.

    They are taken one after the other, and read once.
    """
    judged: dict[str, Floats] = {}
    spectra: list[float] = []
    for name, weights in layers:
        if len(known := _known(noise_of(weights))):
            judged[name] = known
        if (spectrum := spectrum_p_value(weights)) is not None:
            spectra.append(spectrum)
    every = np.concatenate([*judged.values(), np.empty(0)])
    if len(every) < _FEWEST_FILTERS:
        found = f"only {len(every)} filters have" if len(every) else "no filter has"
        return FilterNoise(filters=len(every), not_judged=f"{found} enough weights side by side")
    shares = {name: share for name, noise in judged.items() if (share := share_of_noise(noise)) is not None}
    # The mean of so many numbers that are uniform from 0 to 1, whose variance is 1/12, is about normal.
    z = (0.5 - every.mean()) * math.sqrt(12 * len(every))
    smooth = float(_normal_survival(np.array([z]))[0])
    p_value = sidak(min(smooth, sidak(min(spectra), len(spectra))), 2) if spectra else smooth
    return FilterNoise(share=share_of_noise(every), p_value=p_value, filters=len(every), layers=shares)


def _known(noise: Floats) -> Floats:
    return noise[~np.isnan(noise)]


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


def _ratio(values: Floats, scales: Floats) -> Floats:
    return np.divide(values, scales, out=np.zeros_like(values), where=scales > 0)


def _normal_survival(z: Floats) -> Floats:
    """Return the probability that a standard normal number is larger than each."""
    return np.array([0.5 * math.erfc(each / math.sqrt(2)) for each in z])


def _chi_square_survival(values: Floats, degrees: NDArray[np.int64]) -> Floats:
    """Return the probability that a chi-square number is larger than each: Wilson and Hilferty's approximation (1931)."""
    spread = 2 / (9 * degrees)
    return _normal_survival((np.cbrt(values / degrees) - (1 - spread)) / np.sqrt(spread))
