"""Generate normal series of three kinds, and anomalies of five: windows of one channel and LENGTH steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]  # [n, LENGTH]

LENGTH = 128
# Training, statistics, calibration, normal series of the test, anomalies of each kind.
COUNTS = (1200, 200, 300, 300, 60)


def _tones(count: int, rng: np.random.Generator) -> Series:
    """Return two tones, the second of three times the frequency, with any phase, and noise."""
    time = np.arange(LENGTH)
    frequency = rng.uniform(0.03, 0.05, (count, 1))
    phases = rng.uniform(0, 2 * np.pi, (2, count, 1))
    second = rng.uniform(0.3, 0.5, (count, 1)) * np.sin(6 * np.pi * frequency * time + phases[1])
    return np.asarray(np.sin(2 * np.pi * frequency * time + phases[0]) + second + 0.1 * rng.standard_normal((count, LENGTH)))


def _autoregressive(count: int, rng: np.random.Generator) -> Series:
    """Return a damped oscillation that noise keeps going (an autoregression of order 2), of deviation 1."""
    steps = rng.standard_normal((count, LENGTH + 100))
    series = np.zeros_like(steps)
    for step in range(2, steps.shape[1]):
        series[:, step] = 1.6 * series[:, step - 1] - 0.8 * series[:, step - 2] + steps[:, step]
    return series[:, 100:] / 3.9


def _pulses(count: int, rng: np.random.Generator) -> Series:
    """Return pulses with an undershoot at a nearly even rate, like a heartbeat, on a slow wave."""
    time = np.arange(LENGTH)
    series = 0.1 * rng.standard_normal((count, LENGTH))
    series += 0.2 * np.sin(2 * np.pi * rng.uniform(0.004, 0.012, (count, 1)) * time + rng.uniform(0, 6.3, (count, 1)))
    period = rng.uniform(22, 28, count)
    start = rng.uniform(0, period)
    for beat in range(-1, 7):
        centre = (start + period * beat + rng.normal(0, 0.6, count))[:, None]
        series += 1.5 * np.exp(-(((time - centre) / 1.5) ** 2)) - 0.5 * np.exp(-(((time - centre - 5) / 2.5) ** 2))
    return series


NORMAL: dict[str, Callable[[int, np.random.Generator], Series]] = {
    "tones": _tones,
    "autoregression": _autoregressive,
    "pulses": _pulses,
}


def _stretches(series: Series, steps: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of one stretch of so many steps in each series."""
    start = rng.integers(0, LENGTH - steps, (len(series), 1))
    return np.asarray((np.arange(LENGTH) >= start) & (np.arange(LENGTH) < start + steps))


def _spike(series: Series, rng: np.random.Generator) -> Series:
    return np.asarray(series + _stretches(series, 2, rng) * rng.choice([-1.5, 1.5], (len(series), 1)))


def _shift(series: Series, rng: np.random.Generator) -> Series:
    return np.asarray(series + _stretches(series, 30, rng) * rng.choice([-0.6, 0.6], (len(series), 1)))


def _noise(series: Series, rng: np.random.Generator) -> Series:
    return np.asarray(series + _stretches(series, 30, rng) * rng.normal(0, 0.35, series.shape))


def _stuck(series: Series, rng: np.random.Generator) -> Series:
    """A sensor that repeats one value."""
    inside = _stretches(series, 20, rng)
    first = series[np.arange(len(series)), inside.argmax(axis=1)][:, None]
    return np.where(inside, first, series)


def _hurried(series: Series, rng: np.random.Generator) -> Series:
    """Part of the series runs a third faster."""
    inside = _stretches(series, 45, rng)
    offset = np.cumsum(inside, axis=1) / 3
    place = np.arange(LENGTH) + offset
    return np.stack([np.interp(where, np.arange(values.size), values) for where, values in zip(place, series, strict=True)])


ANOMALIES = (_spike, _shift, _noise, _stuck, _hurried)


def make(kind: str, seed: int) -> list[NDArray[np.float32]]:
    """Return the parts of COUNTS: float32[n, 1, LENGTH] each, the anomalies in random order."""
    rng = np.random.default_rng([seed, *kind.encode()])
    parts = [NORMAL[kind](count, rng) for count in COUNTS[:-1]]
    odd = np.concatenate([change(NORMAL[kind](COUNTS[-1], rng), rng) for change in ANOMALIES])
    return [part[:, None].astype(np.float32) for part in (*parts, rng.permutation(odd))]
