"""Draw speed and load during a recording; training uses other bands of both than calibration and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from machine_synthesis.signals import GENERATED_SAMPLES, KEPT, SAMPLE_RATE, Array
from machine_synthesis.units import MachineUnit

SPLITS = ("train", "calibration", "test")

# Speed is a fraction of the unit's nominal speed, load a fraction of full load. Even bands: train; odd: the other two.
SPEED_RANGE = (0.85, 1.15)
SPEED_BANDS = 11
LOAD_RANGE = (0.30, 1.00)
LOAD_BANDS = 7
BAND_GUARD = 0.05  # share of a band left empty at each end, so that neighbouring bands do not touch

DRIFT_STEP = 640  # samples between two points of the course of speed and load


@dataclass(frozen=True)
class OperatingPoint:
    """Describes how the machine runs during one recording; arrays have ``GENERATED_SAMPLES`` entries.

    Attributes:
        phase: shaft angle in radians, growing.
        load: fraction of full load.
        shaft_hz: mean shaft speed in turns per second.
    """

    phase: Array
    load: Array
    shaft_hz: float


def bands_of_split(split: str, limits: tuple[float, float], bands: int) -> list[tuple[float, float]]:
    """Return the bands of ``limits`` that belong to the split: the even ones for ``train``, the odd ones for the others."""
    edges = np.linspace(limits[0], limits[1], bands + 1)
    guard = BAND_GUARD * (edges[1] - edges[0])
    first = 0 if split == "train" else 1
    return [(float(edges[i] + guard), float(edges[i + 1] - guard)) for i in range(first, bands, 2)]


def slow_drift(rng: np.random.Generator, bands: list[tuple[float, float]]) -> Array:
    """Draw a slow random course inside one random band, so that the recording never leaves its split's bands."""
    low, high = bands[rng.integers(len(bands))]
    # Cycles last seconds: a hundred points and straight lines between them are enough.
    samples = np.arange(0, GENERATED_SAMPLES + DRIFT_STEP, DRIFT_STEP)
    seconds = samples / SAMPLE_RATE
    swing = rng.uniform(0.1, 0.5)
    course = np.zeros(seconds.size)
    for cycle_hz in rng.uniform((0.05, 0.2), (0.2, 0.6)):
        course += 0.5 * np.sin(2.0 * np.pi * (cycle_hz * seconds + rng.uniform()))
    centre = rng.uniform(swing, 1.0 - swing)
    points = low + (high - low) * (centre + swing * course)
    return np.interp(np.arange(GENERATED_SAMPLES), samples, points)


def draw_operating_point(rng: np.random.Generator, unit: MachineUnit, split: str) -> OperatingPoint:
    """Draw the course of speed and load for one recording of ``split``."""
    speed = slow_drift(rng, bands_of_split(split, SPEED_RANGE, SPEED_BANDS))
    load = slow_drift(rng, bands_of_split(split, LOAD_RANGE, LOAD_BANDS))
    shaft_hz = speed * (unit.nominal_rpm / 60.0)
    phase = rng.uniform(0.0, 2.0 * np.pi) + 2.0 * np.pi * np.cumsum(shaft_hz) / SAMPLE_RATE
    return OperatingPoint(phase, load, float(shaft_hz[KEPT].mean()))
