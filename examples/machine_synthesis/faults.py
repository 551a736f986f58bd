"""Synthesise the change of a machine's sound by each fault, at a given ratio to the normal sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from machine_synthesis.normal import MachineSound, pass_amplitudes, pass_slope
from machine_synthesis.operation import OperatingPoint
from machine_synthesis.signals import (
    GENERATED_SAMPLES,
    KEPT,
    LEAD_IN,
    RECORDING_SAMPLES,
    SAMPLE_RATE,
    Array,
    band_amplitude,
    frequencies,
    from_db,
    play_turn,
    power,
    shaped_noise,
    turn_table,
)
from machine_synthesis.units import MachineUnit

# Range in dB of (power of the fault's change) / (power of the normal machine signal), drawn uniformly per recording.
FAULT_TO_SIGNAL_DB: dict[str, tuple[float, float]] = {
    "bearing": (-21.0, -12.0),
    "imbalance": (-10.0, -3.0),
    "rubbing": (-18.0, -11.0),
    "missing_blade": (-7.0, -2.0),
    "dropout": (-16.0, -11.0),
}
FAULTS_OF_TYPE: dict[str, tuple[str, ...]] = {
    "fan": ("bearing", "imbalance", "rubbing", "missing_blade", "dropout"),
    "motor": ("bearing", "imbalance", "rubbing", "dropout"),  # no blades or vanes to lose
    "pump": ("bearing", "imbalance", "rubbing", "missing_blade", "dropout"),  # here a broken vane or piston
}

DROPOUT_DEPTH = 0.9  # what is left in a gap is sound from neighbouring parts
DROPOUT_GAPS = (3, 7)  # at least, below


def bearing_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Return an outer-race defect: each ball that rolls over it strikes the housing's resonance.

    Balls slip, so the strikes jitter by some percent of their period; the load on the defect varies with the turn.
    """
    strikes = unit.bearing_order * (point.phase - point.phase[0]) / (2.0 * np.pi)
    count = int(strikes[-1])
    moments = np.arange(1, count + 1) + 0.02 * rng.standard_normal(count)
    samples = np.interp(moments, strikes, np.arange(GENERATED_SAMPLES)).astype(np.intp)
    impulses = np.zeros(GENERATED_SAMPLES)
    heights = np.exp(0.25 * rng.standard_normal(count)) * (1.0 + 0.5 * np.cos(point.phase[samples]))
    np.add.at(impulses, samples, heights)
    centre = unit.bearing_resonance_hz * rng.uniform(0.95, 1.05)
    decay = np.pi * centre / 15.0  # quality factor 15, usual for a bolted housing
    # Transfer function of a damped oscillator: 1 / (s^2 + 2 d s + w0^2 + d^2).
    s = 2j * np.pi * frequencies()
    response = 1.0 / (s**2 + 2.0 * decay * s + (2.0 * np.pi * centre) ** 2 + decay**2)
    return np.asarray(np.fft.irfft(np.fft.rfft(impulses) * response, GENERATED_SAMPLES))


def imbalance_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Return an unbalanced rotor: the 1x line grows and the whirling shaft modulates the rest at 1x; equal powers of both."""
    turn = np.cos(point.phase + rng.uniform(0.0, 2.0 * np.pi))
    modulation = sound.total * turn
    line = np.cos(point.phase + rng.uniform(0.0, 2.0 * np.pi))
    return np.asarray(modulation / np.sqrt(power(modulation)) + line / np.sqrt(power(line)))


def once_per_turn(point: OperatingPoint) -> Array:
    """Return a smooth bump of height 1 over about a fifth of each turn of the shaft."""
    return np.asarray(np.exp(6.0 * (np.cos(point.phase) - 1.0)), dtype=np.float64)


def rubbing_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Return a rotor that touches the casing once per turn: a burst of friction noise of varying strength."""
    friction = shaped_noise(rng, band_amplitude(unit.bearing_resonance_hz * rng.uniform(0.6, 0.9), 0.5))
    contact = once_per_turn(point)
    turns = ((point.phase + np.pi - point.phase[0]) / (2.0 * np.pi)).astype(np.intp)
    strength = np.exp(0.3 * rng.standard_normal(int(turns[-1]) + 1))[turns]
    return np.asarray(friction * contact * strength)


def missing_blade_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Return a broken blade or vane: once per turn its pulse is missing, and with it a part of the flow noise.

    One pulse per turn holds every shaft order, so lines appear between the pass harmonics. The rotor is lighter on
    one side too: an imbalance comes with it, here a quarter of the change's amplitude.
    """
    orders = np.arange(1, 4 * unit.elements + 1).astype(float)
    pulse = play_turn(turn_table(orders, pass_amplitudes(unit, point, orders, pass_slope(unit, point))), point.phase)
    quiet = sound.noise * once_per_turn(point)
    share = np.sqrt(power(sound.noise) / power(sound.total))  # the noise counts as much as it does in the machine
    missing = -pulse / np.sqrt(power(pulse)) - share * quiet / np.sqrt(power(quiet))
    return np.asarray(missing + 0.25 * imbalance_change(rng, unit, point, sound))


def dropout_of_ratio(rng: np.random.Generator, sound: MachineSound, ratio_db: float) -> Array:
    """Return a loose coupling or contact: the machine's sound stops for short moments.

    Here the ratio sets the gaps' length, not their depth: they last until they took the stated share of the power.
    """
    signal = sound.total
    gaps = int(rng.integers(DROPOUT_GAPS[0], DROPOUT_GAPS[1]))
    energy = np.cumsum(signal[KEPT] ** 2)
    share = energy[-1] * from_db(ratio_db) ** 2 / DROPOUT_DEPTH**2 / gaps
    slot = RECORDING_SAMPLES / gaps
    envelope = np.zeros(GENERATED_SAMPLES)
    for gap in range(gaps):
        start = int((gap + rng.uniform(0.05, 0.5)) * slot)
        stop = int(np.searchsorted(energy, energy[start] + share))
        envelope[LEAD_IN + start : LEAD_IN + stop] = 1.0
    edge = np.hanning(int(0.004 * SAMPLE_RATE))  # contacts do not open within one sample
    soft = np.convolve(envelope, edge / edge.sum(), mode="same")
    return np.asarray(-DROPOUT_DEPTH * soft * signal)


Change = Callable[[np.random.Generator, MachineUnit, OperatingPoint, MachineSound], Array]
CHANGES: dict[str, Change] = {
    "bearing": bearing_change,
    "imbalance": imbalance_change,
    "rubbing": rubbing_change,
    "missing_blade": missing_blade_change,
}


def fault_change(
    rng: np.random.Generator, fault: str, unit: MachineUnit, point: OperatingPoint, sound: MachineSound, ratio_db: float
) -> Array:
    """Return what ``fault`` changes in the sound, scaled so that its power against the normal machine is ``ratio_db``."""
    dropout = fault == "dropout"  # for it the scaling below only corrects for the gaps' soft edges
    change = dropout_of_ratio(rng, sound, ratio_db) if dropout else CHANGES[fault](rng, unit, point, sound)
    return np.asarray(change * from_db(ratio_db) * np.sqrt(power(sound.total) / power(change)))
