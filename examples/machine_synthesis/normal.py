"""Synthesise the sound of a healthy machine: tones of its turning parts, and broadband noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from machine_synthesis.operation import OperatingPoint
from machine_synthesis.signals import (
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
from machine_synthesis.units import MachineUnit, resonance_gain

MOTOR_SLIP = 0.03  # at full load, of the rotor's speed


@dataclass(frozen=True)
class MachineSound:
    """Holds the normal sound of the machine alone; arrays have ``GENERATED_SAMPLES`` entries, arbitrary linear units."""

    tones: Array
    noise: Array

    @functools.cached_property
    def total(self) -> Array:
        """Return tones and noise together."""
        return self.tones + self.noise


def pass_amplitudes(unit: MachineUnit, point: OperatingPoint, orders: Array, slope: float) -> Array:
    """Return amplitudes of blade or piston pulses at shaft ``orders``: flat up to the pass order, then falling as f^-slope."""
    fall = np.maximum(orders / unit.elements, 1.0) ** -slope
    return np.asarray(fall * resonance_gain(unit, orders * point.shaft_hz))


def pass_slope(unit: MachineUnit, point: OperatingPoint) -> float:
    """Return the steepness of the pass harmonics: piston pulses are sharper than blade pulses, and load sharpens both."""
    gentle = 1.6 if unit.kind == "fan" else 1.1
    return float(gentle - 0.4 * point.load.mean())


def residual_unbalance(rng: np.random.Generator) -> float:
    """Draw the amplitude of the 1x line of a healthy rotor against the first pass harmonic; no rotor is balanced perfectly."""
    return float(rng.uniform(0.05, 0.15))


def pass_tones(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint) -> Array:
    """Return the harmonics of the blade, piston or vane pass."""
    harmonics = np.arange(1, 25 if unit.kind == "pump" else 17)
    orders = np.append(1, unit.elements * harmonics).astype(float)
    amplitudes = pass_amplitudes(unit, point, orders, pass_slope(unit, point))
    amplitudes[0] *= residual_unbalance(rng)
    return play_turn(turn_table(orders, amplitudes), point.phase)


def motor_tones(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint) -> Array:
    """Return hum at twice the supply frequency, rotor harmonics and the whine of the rotor slots with sidebands."""
    # Slip makes the supply run a little ahead of the rotor, the more the higher the load.
    slip_phase = np.cumsum(MOTOR_SLIP * point.load) * (2.0 * np.pi * point.shaft_hz / SAMPLE_RATE)
    supply_phase = unit.pole_pairs * (point.phase + slip_phase)
    supply_hz = unit.pole_pairs * point.shaft_hz
    hum_orders = np.array([2.0, 4.0, 6.0, 8.0, 12.0])
    hum_levels = np.array([1.0, 0.5, 0.35, 0.2, 0.15]) * resonance_gain(unit, hum_orders * supply_hz)
    hum = play_turn(turn_table(hum_orders, hum_levels), supply_phase)
    side = 2.0 * unit.pole_pairs
    slots = float(unit.elements)
    orders = np.array([1, 2, 3, 4, slots - side, slots, slots + side, 2 * slots - side, 2 * slots, 3 * slots])
    levels = np.array([0.0, 0.12, 0.08, 0.05, 0.3, 0.5, 0.3, 0.15, 0.25, 0.12])
    levels[0] = residual_unbalance(rng)
    rotor = play_turn(turn_table(orders, levels * resonance_gain(unit, orders * point.shaft_hz)), point.phase)
    return np.asarray(hum + rotor * (0.6 + 0.4 * point.load))


def broadband(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint) -> Array:
    """Draw broadband noise of unit power, modulated by the pass of blades or pistons."""
    if unit.kind == "pump":  # hydraulic noise of oil and valves, over the turbulence in the pipes
        amplitude = band_amplitude(1300.0, 0.8) + (1.0 + (frequencies() / 300.0) ** 2) ** -0.5
        depth = 0.5
    else:  # flow noise of the fan, or of the motor's own cooling fan
        amplitude = (1.0 + (frequencies() / 400.0) ** 2) ** -0.5
        depth = 0.4 if unit.kind == "fan" else 0.0
    noise = shaped_noise(rng, amplitude * resonance_gain(unit, frequencies()))
    if depth == 0.0:
        return noise
    return noise * (1.0 + depth * np.cos(unit.elements * point.phase))


def machine_sound(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint) -> MachineSound:
    """Return the normal sound of ``unit`` at the operating point, tones and noise."""
    tones = (motor_tones if unit.kind == "motor" else pass_tones)(rng, unit, point)
    level = from_db(unit.base_level_db) / np.sqrt(power(tones))
    noise = broadband(rng, unit, point)
    # Flow noise rises faster with load than the tones do.
    noise_level = from_db(unit.base_level_db + unit.noise_to_tone_db) * (0.4 + 0.6 * point.load)
    return MachineSound(tones * level * (0.7 + 0.3 * point.load), noise * noise_level)
