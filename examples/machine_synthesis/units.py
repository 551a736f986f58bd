"""Define the six machines: fans, motors and pumps, two of each, with fixed properties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from machine_synthesis.signals import Array


@dataclass(frozen=True)
class MachineUnit:
    """Holds the fixed properties of one machine.

    Attributes:
        name: unit id, for example ``fan-1``.
        kind: ``fan``, ``motor`` or ``pump``.
        nominal_rpm: shaft speed at speed fraction 1.
        elements: blades of a fan, rotor slots of a motor, pistons or vanes of a pump.
        pole_pairs: of the motor's stator; 0 for the other types.
        resonances: housing resonances as (frequency Hz, bandwidth Hz, gain in amplitude over the flat path).
        noise_to_tone_db: power of the broadband noise against the tones at full load.
        bearing_order: outer-race defect frequency in multiples of the shaft speed.
        bearing_resonance_hz: resonance that the bearing's impulses and friction excite.
        base_level_db: level of this unit against the others at the microphone.
    """

    name: str
    kind: str
    nominal_rpm: float
    elements: int
    pole_pairs: int
    resonances: tuple[tuple[float, float, float], ...]
    noise_to_tone_db: float
    bearing_order: float
    bearing_resonance_hz: float
    base_level_db: float


UNITS: tuple[MachineUnit, ...] = (
    MachineUnit("fan-1", "fan", 720, 6, 0, ((310, 120, 2.0), (1250, 300, 1.5)), 0.0, 3.58, 3100, 0.0),
    MachineUnit("fan-2", "fan", 600, 8, 0, ((190, 90, 2.0), (870, 250, 2.0)), 1.0, 4.12, 3700, 1.5),
    MachineUnit("motor-1", "motor", 1480, 28, 2, ((520, 160, 2.0), (2100, 400, 1.5)), 0.0, 3.05, 4200, -1.0),
    MachineUnit("motor-2", "motor", 980, 44, 3, ((690, 200, 2.0), (2700, 500, 1.5)), 0.0, 4.95, 3400, 0.5),
    MachineUnit("pump-1", "pump", 580, 9, 0, ((430, 150, 1.5), (1650, 350, 2.0)), 0.0, 3.58, 4600, 1.0),
    MachineUnit("pump-2", "pump", 680, 7, 0, ((270, 110, 2.0), (1950, 450, 1.5)), 0.0, 4.55, 3900, -1.5),
)


def resonance_gain(unit: MachineUnit, frequency: Array) -> Array:
    """Return the amplitude gain of the unit's housing at each ``frequency`` in Hz."""
    gain = np.ones_like(frequency)
    for centre, bandwidth, peak in unit.resonances:
        gain += peak / (1.0 + ((frequency - centre) / (bandwidth / 2.0)) ** 2)
    return gain
