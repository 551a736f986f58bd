"""Seeded generator of labelled machine sounds: normal running and faults of known size.

Every recording is 16 kHz mono 16-bit WAV of ``RECORDING_SAMPLES`` samples (4.16 s, two windows of 33280 samples).
Three types of machine (fan, motor, pump) with two units each; a unit has its own fixed blade count, speed, housing
resonances and level. Inside a recording speed and load drift slowly, the room adds noise and now and then a bump, and
the microphone has a random gain and direction (a spectral tilt).

Splits share nothing they must not share:

* seeds: every split, base seed, machine, condition and index has its own recording seed (see ``recording_seed``);
* operating points: ``train`` runs in the even speed and load bands, ``calibration`` and ``test`` in the odd ones. The
  bands interleave, so a model trained on ``train`` interpolates. ``calibration`` and ``test`` have the same bands: the
  conformal p-value needs their normal recordings to be exchangeable.

Fault size is stated, not guessed: ``FAULT_TO_SIGNAL_DB`` is the range of 10 log10(power of what the fault changes /
power of the normal machine signal), both over the whole recording and without room noise. The ratio drawn for a
recording holds exactly before the 16-bit rounding and stands in ``labels.csv``.

Layout: ``OUT/<split>/<machine-id>/<condition>_<index>.wav`` and ``OUT/<split>/labels.csv``.
"""

from __future__ import annotations

import argparse
import csv
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 33_280
RECORDING_SAMPLES = 2 * WINDOW_SAMPLES
# Filters work by FFT over the whole recording, so they wrap round: this lead-in takes the seam and is cut off.
# 69120 = 2^9 * 3^3 * 5 keeps the FFT quick.
GENERATED_SAMPLES = 69_120
LEAD_IN = GENERATED_SAMPLES - RECORDING_SAMPLES
KEPT = slice(LEAD_IN, None)

SPLITS = ("train", "calibration", "test")
NORMAL = "normal"

# Range in dB of (power of the fault's change) / (power of the normal machine signal), drawn uniformly per recording.
FAULT_TO_SIGNAL_DB: dict[str, tuple[float, float]] = {
    "bearing": (-21.0, -12.0),
    "imbalance": (-10.0, -3.0),
    "rubbing": (-18.0, -11.0),
    "missing_blade": (-7.0, -2.0),
    "dropout": (-16.0, -11.0),
}
CONDITIONS = (NORMAL, *FAULT_TO_SIGNAL_DB)
FAULTS_OF_TYPE: dict[str, tuple[str, ...]] = {
    "fan": ("bearing", "imbalance", "rubbing", "missing_blade", "dropout"),
    "motor": ("bearing", "imbalance", "rubbing", "dropout"),  # no blades or vanes to lose
    "pump": ("bearing", "imbalance", "rubbing", "missing_blade", "dropout"),  # here a broken vane or piston
}

# Speed is a fraction of the unit's nominal speed, load a fraction of full load. Even bands: train; odd: the other two.
SPEED_RANGE = (0.85, 1.15)
SPEED_BANDS = 11
LOAD_RANGE = (0.30, 1.00)
LOAD_BANDS = 7
BAND_GUARD = 0.05  # share of a band left empty at each end, so that neighbouring bands do not touch

ROOM_TO_MACHINE_DB = (-20.0, -8.0)
ROOM_POWER_SLOPE = (0.6, 1.4)  # room noise power falls as f^-slope: 1 is pink
BUMPS_PER_RECORDING = 0.7  # Poisson mean
BUMP_TO_MACHINE_DB = (-12.0, 0.0)  # peak envelope of a bump against the machine's RMS
MICROPHONE_TILT_DB_PER_OCTAVE = 1.0  # half range
MICROPHONE_GAIN_STD_DB = 3.0
OUTPUT_LEVEL_DBFS = -26.0

DRIFT_STEP = 640  # samples between two points of the course of speed and load

TURN_POINTS = 8_192  # points of the table that holds one turn of the shaft


@dataclass(frozen=True)
class MachineUnit:
    """Fixed properties of one machine.

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


@dataclass(frozen=True)
class OperatingPoint:
    """How the machine runs during one recording; arrays have ``GENERATED_SAMPLES`` entries.

    Attributes:
        phase: shaft angle in radians, growing.
        load: fraction of full load.
        shaft_hz: mean shaft speed in turns per second.
    """

    phase: Array
    load: Array
    shaft_hz: float


@dataclass(frozen=True)
class MachineSound:
    """The normal sound of the machine alone; arrays have ``GENERATED_SAMPLES`` entries, arbitrary linear units."""

    tones: Array
    noise: Array

    @functools.cached_property
    def total(self) -> Array:
        """Tones and noise together."""
        return self.tones + self.noise


@dataclass(frozen=True)
class Recording:
    """One finished recording: ``samples`` float64[RECORDING_SAMPLES] in [-1, 1] and its labels."""

    samples: Array
    speed_rpm: float
    load: float
    fault_to_signal_db: float | None


# ---------------------------------------------------------------------------------------------------------------------
# Helpers


def power(signal: Array) -> float:
    """Mean square of the part of ``signal`` that is kept after the lead-in."""
    kept = signal[KEPT]
    return float(np.dot(kept, kept) / kept.size)


def from_db(decibel: float) -> float:
    """Amplitude ratio of a level in dB."""
    return float(10.0 ** (decibel / 20.0))


@functools.cache
def frequencies() -> Array:
    """Frequencies in Hz of the FFT bins of a generated signal, the first one moved off zero. Shared: do not write."""
    bins = np.fft.rfftfreq(GENERATED_SAMPLES, 1.0 / SAMPLE_RATE)
    bins[0] = bins[1]  # power laws below must stay finite
    return np.asarray(bins, dtype=np.float64)


def shaped_noise(rng: np.random.Generator, amplitude: Array) -> Array:
    """Gaussian noise of unit power with the spectral ``amplitude`` (one value per FFT bin)."""
    white = rng.standard_normal((2, amplitude.size))
    noise = np.fft.irfft((white[0] + 1j * white[1]) * amplitude, GENERATED_SAMPLES)
    return np.asarray(noise / np.sqrt(power(noise)))


def band_amplitude(centre_hz: float, width_octaves: float) -> Array:
    """Amplitude of a smooth band around ``centre_hz``, Gaussian over log frequency."""
    octaves = np.log2(frequencies() / centre_hz)
    return np.asarray(np.exp(-0.5 * (octaves / width_octaves) ** 2), dtype=np.float64)


def resonance_gain(unit: MachineUnit, frequency: Array) -> Array:
    """Amplitude gain of the unit's housing at each ``frequency`` in Hz."""
    gain = np.ones_like(frequency)
    for centre, bandwidth, peak in unit.resonances:
        gain += peak / (1.0 + ((frequency - centre) / (bandwidth / 2.0)) ** 2)
    return gain


def turn_table(orders: Array, amplitudes: Array) -> Array:
    """One turn of a sum of cosines of the given shaft ``orders`` (whole numbers): float64[TURN_POINTS + 1].

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


# ---------------------------------------------------------------------------------------------------------------------
# Operating point


def bands_of_split(split: str, limits: tuple[float, float], bands: int) -> list[tuple[float, float]]:
    """Bands of ``limits`` that belong to the split: the even ones for ``train``, the odd ones for the others."""
    edges = np.linspace(limits[0], limits[1], bands + 1)
    guard = BAND_GUARD * (edges[1] - edges[0])
    first = 0 if split == "train" else 1
    return [(float(edges[i] + guard), float(edges[i + 1] - guard)) for i in range(first, bands, 2)]


def slow_drift(rng: np.random.Generator, bands: list[tuple[float, float]]) -> Array:
    """Slow random course inside one random band, so that the recording never leaves its split's bands."""
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


# ---------------------------------------------------------------------------------------------------------------------
# Normal machines


def pass_amplitudes(unit: MachineUnit, point: OperatingPoint, orders: Array, slope: float) -> Array:
    """Amplitudes of blade or piston pulses at shaft ``orders``: flat up to the pass order, then falling as f^-slope."""
    fall = np.maximum(orders / unit.elements, 1.0) ** -slope
    return np.asarray(fall * resonance_gain(unit, orders * point.shaft_hz))


def pass_slope(unit: MachineUnit, point: OperatingPoint) -> float:
    """Steepness of the pass harmonics: piston pulses are sharper than blade pulses, and load sharpens both."""
    gentle = 1.6 if unit.kind == "fan" else 1.1
    return float(gentle - 0.4 * point.load.mean())


def residual_unbalance(rng: np.random.Generator) -> float:
    """Amplitude of the 1x line of a healthy rotor against the first pass harmonic; no rotor is balanced perfectly."""
    return float(rng.uniform(0.05, 0.15))


def pass_tones(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint) -> Array:
    """Harmonics of the blade, piston or vane pass."""
    harmonics = np.arange(1, 25 if unit.kind == "pump" else 17)
    orders = np.append(1, unit.elements * harmonics).astype(float)
    amplitudes = pass_amplitudes(unit, point, orders, pass_slope(unit, point))
    amplitudes[0] *= residual_unbalance(rng)
    return play_turn(turn_table(orders, amplitudes), point.phase)


MOTOR_SLIP = 0.03  # at full load, of the rotor's speed


def motor_tones(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint) -> Array:
    """Magnetic hum at twice the supply frequency, rotor harmonics and the whine of the rotor slots with sidebands."""
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
    """Unit-power broadband noise, modulated by the pass of blades or pistons."""
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
    """Normal sound of ``unit`` at the operating point, tones and noise."""
    tones = (motor_tones if unit.kind == "motor" else pass_tones)(rng, unit, point)
    level = from_db(unit.base_level_db) / np.sqrt(power(tones))
    noise = broadband(rng, unit, point)
    # Flow noise rises faster with load than the tones do.
    noise_level = from_db(unit.base_level_db + unit.noise_to_tone_db) * (0.4 + 0.6 * point.load)
    return MachineSound(tones * level * (0.7 + 0.3 * point.load), noise * noise_level)


# ---------------------------------------------------------------------------------------------------------------------
# Faults: each returns what the fault adds to or takes from the machine's sound, before scaling to its stated ratio


def bearing_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Outer-race defect: each ball that rolls over it strikes the housing's resonance.

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
    """Unbalanced rotor: the 1x line grows and the whirling shaft modulates the rest at 1x; equal powers of both."""
    turn = np.cos(point.phase + rng.uniform(0.0, 2.0 * np.pi))
    modulation = sound.total * turn
    line = np.cos(point.phase + rng.uniform(0.0, 2.0 * np.pi))
    return np.asarray(modulation / np.sqrt(power(modulation)) + line / np.sqrt(power(line)))


def once_per_turn(point: OperatingPoint) -> Array:
    """Smooth bump of height 1 over about a fifth of each turn of the shaft."""
    return np.asarray(np.exp(6.0 * (np.cos(point.phase) - 1.0)), dtype=np.float64)


def rubbing_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Rotor touches the casing once per turn: a burst of friction noise of varying strength."""
    friction = shaped_noise(rng, band_amplitude(unit.bearing_resonance_hz * rng.uniform(0.6, 0.9), 0.5))
    contact = once_per_turn(point)
    turns = ((point.phase + np.pi - point.phase[0]) / (2.0 * np.pi)).astype(np.intp)
    strength = np.exp(0.3 * rng.standard_normal(int(turns[-1]) + 1))[turns]
    return np.asarray(friction * contact * strength)


def missing_blade_change(rng: np.random.Generator, unit: MachineUnit, point: OperatingPoint, sound: MachineSound) -> Array:
    """Broken blade or vane: once per turn its pulse is missing, and with it a part of the flow noise.

    One pulse per turn holds every shaft order, so lines appear between the pass harmonics. The rotor is lighter on
    one side too: an imbalance comes with it, here a quarter of the change's amplitude.
    """
    orders = np.arange(1, 4 * unit.elements + 1).astype(float)
    pulse = play_turn(turn_table(orders, pass_amplitudes(unit, point, orders, pass_slope(unit, point))), point.phase)
    quiet = sound.noise * once_per_turn(point)
    share = np.sqrt(power(sound.noise) / power(sound.total))  # the noise counts as much as it does in the machine
    missing = -pulse / np.sqrt(power(pulse)) - share * quiet / np.sqrt(power(quiet))
    return np.asarray(missing + 0.25 * imbalance_change(rng, unit, point, sound))


DROPOUT_DEPTH = 0.9  # what is left in a gap is sound from neighbouring parts
DROPOUT_GAPS = (3, 7)  # at least, below


def dropout_of_ratio(rng: np.random.Generator, sound: MachineSound, ratio_db: float) -> Array:
    """Loose coupling or contact: the machine's sound stops for short moments.

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
    """What ``fault`` changes in the sound, scaled so that its power against the normal machine is ``ratio_db``."""
    dropout = fault == "dropout"  # for it the scaling below only corrects for the gaps' soft edges
    change = dropout_of_ratio(rng, sound, ratio_db) if dropout else CHANGES[fault](rng, unit, point, sound)
    return np.asarray(change * from_db(ratio_db) * np.sqrt(power(sound.total) / power(change)))


# ---------------------------------------------------------------------------------------------------------------------
# Room and microphone


def room_noise(rng: np.random.Generator, machine_power: float) -> Array:
    """Pink-like noise of varying level and slope, with a few bumps (doors, tools, steps)."""
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
    """What the microphone writes: tilt by its direction, a random gain, samples in [-1, 1] without the lead-in.

    ``level_rms`` is the RMS that ``sound`` is brought to first. For a faulty machine it is the RMS the same recording
    has without the fault: the microphone's automatic gain takes the extra loudness out, so loudness tells nothing.
    """
    tilt = rng.uniform(-MICROPHONE_TILT_DB_PER_OCTAVE, MICROPHONE_TILT_DB_PER_OCTAVE)
    filter_gain = (np.maximum(frequencies(), 30.0) / 1000.0) ** (tilt / (20.0 * np.log10(2.0)))
    tilted = np.fft.irfft(np.fft.rfft(sound) * filter_gain, GENERATED_SAMPLES)
    gain = level_rms / np.sqrt(power(tilted))
    gain *= from_db(OUTPUT_LEVEL_DBFS + MICROPHONE_GAIN_STD_DB * rng.standard_normal())
    return np.asarray(np.clip(tilted[KEPT] * gain, -1.0, 1.0))


# ---------------------------------------------------------------------------------------------------------------------
# Recordings and files


def make_recording(unit: MachineUnit, condition: str, split: str, seed: int) -> Recording:
    """Generate one recording; the same arguments give the same samples."""
    rng = np.random.default_rng(seed)
    point = draw_operating_point(rng, unit, split)
    sound = machine_sound(rng, unit, point)
    room = room_noise(rng, power(sound.total))
    mixture = sound.total + room
    level_rms = float(np.sqrt(power(mixture)))
    ratio_db: float | None = None
    if condition != NORMAL:
        ratio_db = float(rng.uniform(*FAULT_TO_SIGNAL_DB[condition]))
        mixture = mixture + fault_change(rng, condition, unit, point, sound, ratio_db)
    samples = microphone(rng, mixture, level_rms)
    return Recording(samples, 60.0 * point.shaft_hz, float(point.load[KEPT].mean()), ratio_db)


MAX_BASE_SEED = 2**20
MAX_RECORDINGS = 2**16  # of one machine and condition


def recording_seed(split: str, base_seed: int, machine: int, condition: int, index: int) -> int:
    """Seed of one recording. A mixed-radix number: two different recordings, and two splits, never share a seed."""
    if not (0 <= base_seed < MAX_BASE_SEED and 0 <= index < MAX_RECORDINGS):
        raise ValueError(f"base seed must be below {MAX_BASE_SEED} and index below {MAX_RECORDINGS}")
    seed = SPLITS.index(split) * MAX_BASE_SEED + base_seed
    seed = (seed * len(UNITS) + machine) * len(CONDITIONS) + condition
    return seed * MAX_RECORDINGS + index


LABEL_COLUMNS = (
    "file", "machine_type", "machine_id", "condition", "speed_rpm", "load", "fault_to_signal_db", "seed",
)  # fmt: skip


def write_recording(folder: Path, split: str, machine: int, condition: str, index: int, base_seed: int) -> list[str]:
    """Write one WAV file below ``folder`` (OUT/<split>) and return its row for ``labels.csv``."""
    unit = UNITS[machine]
    seed = recording_seed(split, base_seed, machine, CONDITIONS.index(condition), index)
    recording = make_recording(unit, condition, split, seed)
    name = f"{unit.name}/{condition}_{index:04d}.wav"
    sf.write(folder / name, recording.samples, SAMPLE_RATE, subtype="PCM_16")
    ratio = "" if recording.fault_to_signal_db is None else f"{recording.fault_to_signal_db:.3f}"
    speed, load = f"{recording.speed_rpm:.1f}", f"{recording.load:.4f}"
    return [name, unit.kind, unit.name, condition, speed, load, ratio, str(seed)]


def generate(out: Path, split: str, normal_per_machine: int, faulty_per_machine_and_fault: int, seed: int) -> Path:
    """Write one split below ``out`` and return its folder ``out/<split>``.

    Args:
        out: folder for all splits; made if missing.
        split: ``train``, ``calibration`` or ``test``.
        normal_per_machine: normal recordings of each of the six machines, at least 0.
        faulty_per_machine_and_fault: recordings of each fault a machine can have, at least 0.
        seed: base seed, 0 to ``MAX_BASE_SEED`` - 1; the same seed gives other recordings in each split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    folder = Path(out) / split
    rows: list[list[str]] = []
    for machine, unit in enumerate(UNITS):
        (folder / unit.name).mkdir(parents=True, exist_ok=True)
        for condition in (NORMAL, *FAULTS_OF_TYPE[unit.kind]):
            count = normal_per_machine if condition == NORMAL else faulty_per_machine_and_fault
            rows += [write_recording(folder, split, machine, condition, index, seed) for index in range(count)]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(LABEL_COLUMNS)
        writer.writerows(rows)
    return folder


def main() -> None:
    """Command line: one split per call."""
    parser = argparse.ArgumentParser(description="Generate labelled machine sounds.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--normal", type=int, default=40, help="normal recordings per machine")
    parser.add_argument("--faulty", type=int, default=8, help="recordings per machine and fault")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(generate(arguments.out, arguments.split, arguments.normal, arguments.faulty, arguments.seed))


if __name__ == "__main__":
    main()
