"""Add the effects of a room and a microphone: noise, bumps, a random gain and direction."""

from __future__ import annotations

import numpy as np

from machine_synthesis.signals import (
    GENERATED_SAMPLES,
    KEPT,
    LEAD_IN,
    SAMPLE_RATE,
    Array,
    frequencies,
    from_db,
    power,
    shaped_noise,
)

ROOM_TO_MACHINE_DB = (-20.0, -8.0)
ROOM_POWER_SLOPE = (0.6, 1.4)  # room noise power falls as f^-slope: 1 is pink
BUMPS_PER_RECORDING = 0.7  # Poisson mean
BUMP_TO_MACHINE_DB = (-12.0, 0.0)  # peak envelope of a bump against the machine's RMS
MICROPHONE_TILT_DB_PER_OCTAVE = 1.0  # half range
MICROPHONE_GAIN_STD_DB = 3.0
OUTPUT_LEVEL_DBFS = -26.0


def room_noise(rng: np.random.Generator, machine_power: float) -> Array:
    """Draw pink-like noise of varying level and slope, with a few bumps (doors, tools, steps)."""
    slope = rng.uniform(*ROOM_POWER_SLOPE)
    machine_rms = np.sqrt(machine_power)
    level = machine_rms * from_db(rng.uniform(*ROOM_TO_MACHINE_DB))
    # Below 30 Hz the microphone's coupling cuts the noise off.
    amplitude = np.maximum(frequencies(), 30.0) ** (-slope / 2.0)
    room: Array = level * shaped_noise(rng, amplitude)
    for _ in range(int(rng.poisson(BUMPS_PER_RECORDING))):
        add_bump(rng, room, machine_rms)
    return room


def add_bump(rng: np.random.Generator, room: Array, machine_rms: float) -> None:
    """Add one decaying burst of band noise to ``room`` in place."""
    start = int(rng.integers(LEAD_IN, GENERATED_SAMPLES - SAMPLE_RATE // 10))
    decay_samples = rng.uniform(0.02, 0.10) * SAMPLE_RATE
    length = min(int(6.0 * decay_samples), GENERATED_SAMPLES - start)
    centre_hz = 100.0 * 15.0 ** rng.uniform()
    steps = np.arange(length)
    carrier = np.cos(2.0 * np.pi * centre_hz / SAMPLE_RATE * steps + np.cumsum(0.15 * rng.standard_normal(length)))
    peak = machine_rms * from_db(rng.uniform(*BUMP_TO_MACHINE_DB)) * np.sqrt(2.0)
    room[start : start + length] += peak * np.exp(-steps / decay_samples) * carrier


def microphone(rng: np.random.Generator, sound: Array, level_rms: float) -> Array:
    """Return what the microphone records: tilt by its direction, a random gain, samples in [-1, 1] without the lead-in.

    ``level_rms`` is the RMS that ``sound`` is brought to first. For a faulty machine it is the RMS the same recording
    has without the fault: the microphone's automatic gain takes the extra loudness out, so loudness tells nothing.
    """
    tilt = rng.uniform(-MICROPHONE_TILT_DB_PER_OCTAVE, MICROPHONE_TILT_DB_PER_OCTAVE)
    filter_gain = (np.maximum(frequencies(), 30.0) / 1000.0) ** (tilt / (20.0 * np.log10(2.0)))
    tilted = np.fft.irfft(np.fft.rfft(sound) * filter_gain, GENERATED_SAMPLES)
    gain = level_rms / np.sqrt(power(tilted))
    gain *= from_db(OUTPUT_LEVEL_DBFS + MICROPHONE_GAIN_STD_DB * rng.standard_normal())
    return np.asarray(np.clip(tilted[KEPT] * gain, -1.0, 1.0))
