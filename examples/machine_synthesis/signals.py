"""Define the time axis of a recording, and generate the signals that all sounds consist of."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 33_280
RECORDING_SAMPLES = 2 * WINDOW_SAMPLES
# Filters work by FFT over the whole recording, so they are circular: the seam is in this lead-in, which is cut off.
# 69120 = 2^9 * 3^3 * 5 makes the FFT fast.
GENERATED_SAMPLES = 69_120
LEAD_IN = GENERATED_SAMPLES - RECORDING_SAMPLES
KEPT = slice(LEAD_IN, None)

TURN_POINTS = 8_192  # points of the table that holds one turn of the shaft


def power(signal: Array) -> float:
    """Return the mean square of the part of ``signal`` that is kept after the lead-in."""
    kept = signal[KEPT]
    return float(np.dot(kept, kept) / kept.size)


def from_db(decibel: float) -> float:
    """Return the amplitude ratio of a level in dB."""
    return float(10.0 ** (decibel / 20.0))


@functools.cache
def frequencies() -> Array:
    """Return the frequencies in Hz of the FFT bins of a generated signal, the first moved off zero. Shared: do not write."""
    bins = np.fft.rfftfreq(GENERATED_SAMPLES, 1.0 / SAMPLE_RATE)
    bins[0] = bins[1]  # power laws below must stay finite
    return np.asarray(bins, dtype=np.float64)


def shaped_noise(rng: np.random.Generator, amplitude: Array) -> Array:
    """Draw Gaussian noise of unit power with the spectral ``amplitude`` (one value per FFT bin)."""
    white = rng.standard_normal((2, amplitude.size))
    noise = np.fft.irfft((white[0] + 1j * white[1]) * amplitude, GENERATED_SAMPLES)
    return np.asarray(noise / np.sqrt(power(noise)))


def band_amplitude(centre_hz: float, width_octaves: float) -> Array:
    """Return the amplitude of a smooth band around ``centre_hz``, Gaussian over log frequency."""
    octaves = np.log2(frequencies() / centre_hz)
    return np.asarray(np.exp(-0.5 * (octaves / width_octaves) ** 2), dtype=np.float64)


def turn_table(orders: Array, amplitudes: Array) -> Array:
    """Return one turn of a sum of cosines of the given shaft ``orders`` (whole numbers): float64[TURN_POINTS + 1].

    Everything locked to the shaft repeats each turn, so one table replaces dozens of long cosines.
    """
    spectrum = np.zeros(TURN_POINTS // 2 + 1)
    np.add.at(spectrum, orders.astype(int), amplitudes)
    turn = np.fft.irfft(spectrum, TURN_POINTS) * (TURN_POINTS / 2)
    return np.append(turn, turn[0])  # closes the turn for the interpolation


def play_turn(table: Array, phase: Array) -> Array:
    """Read the turn ``table`` at each shaft angle of ``phase`` with linear interpolation."""
    position = np.mod(phase, 2.0 * np.pi) * (TURN_POINTS / (2.0 * np.pi))
    lower = position.astype(np.intp)
    fraction = position - lower
    left = table[lower]
    return np.asarray(left + fraction * (table[lower + 1] - left))
