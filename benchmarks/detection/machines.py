"""Machine sounds of the example's generator: every fault at three strengths, the weakest of which is barely there.

The three strengths of a recording share the machine's sound, the room and the microphone. The training runs at other speeds and
loads than the other parts, as in the example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from detection.sets import DetectionSet, Items, of_parts, of_recordings
from machine_anomalies import SOUND
from machine_sounds import NORMAL, make_recording
from machine_synthesis.faults import FAULT_TO_SIGNAL_DB, FAULTS_OF_TYPE, fault_change
from machine_synthesis.normal import machine_sound
from machine_synthesis.operation import draw_operating_point
from machine_synthesis.room import microphone, room_noise
from machine_synthesis.signals import WINDOW_SAMPLES, power
from machine_synthesis.units import UNITS, MachineUnit
from numpy.typing import NDArray
from torch import nn
from training import in_batches

from avizor_export import build_front_end, fit_constants

# Normal recordings of each of the six machines in training, statistics, calibration and test; of each fault.
RECORDINGS = (30, 6, 18, 12)
FAULTY = 6
# Fault to signal in dB, from the ends of the example's range: its loudest, its quietest, and half the amplitude of that.
STRENGTHS = {"strong": (1, 0.0), "weak": (0, 0.0), "barely there": (0, -6.0)}


def make(seed: int) -> DetectionSet:
    """Return the set with this seed; it has a column for each fault and strength."""
    splits = ("train", "calibration", "calibration", "test")
    parts = [
        [
            _windows(make_recording(unit, NORMAL, split, _seed(seed, part, machine, index)).samples)
            for machine, unit in enumerate(UNITS)
            for index in range(RECORDINGS[part])
        ]
        for part, split in enumerate(splits)
    ]
    front_end = build_front_end(fit_constants(SOUND, torch.from_numpy(np.concatenate(parts[0])).split(64)))
    features = [_features(front_end, part) for part in parts]
    anomalies = {column: _features(front_end, windows) for column, windows in _faulty(seed).items()}
    return of_parts("", "machine sounds", features, anomalies)


def _seed(seed: int, part: int, machine: int, index: int) -> int:
    """Return a seed of its own for each recording."""
    return ((seed * 20 + part) * len(UNITS) + machine) * 1000 + index


def _windows(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    return samples.reshape(-1, WINDOW_SAMPLES).astype(np.float32)


def _features(front_end: nn.Module, recordings: list[NDArray[np.float32]]) -> Items:
    return of_recordings([in_batches(front_end, torch.from_numpy(windows)).numpy() for windows in recordings])


def _faulty(seed: int) -> Mapping[str, list[NDArray[np.float32]]]:
    columns: dict[str, list[NDArray[np.float32]]] = {}
    for number, fault in enumerate(FAULT_TO_SIGNAL_DB):
        for machine, unit in enumerate(UNITS):
            if fault not in FAULTS_OF_TYPE[unit.kind]:
                continue
            for index in range(FAULTY):
                for strength, windows in _strengths(unit, fault, _seed(seed, len(RECORDINGS) + number, machine, index)):
                    columns.setdefault(f"machine {fault}, {strength}", []).append(windows)
    return columns


def _strengths(unit: MachineUnit, fault: str, seed: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Make one faulty recording at each strength."""
    rng = np.random.default_rng(seed)
    point = draw_operating_point(rng, unit, "test")
    sound = machine_sound(rng, unit, point)
    normal = sound.total + room_noise(rng, power(sound.total))
    level = float(np.sqrt(power(normal)))
    for strength, (end, offset) in STRENGTHS.items():
        ratio = FAULT_TO_SIGNAL_DB[fault][end] + offset
        change = fault_change(np.random.default_rng([seed, 1]), fault, unit, point, sound, ratio)
        yield strength, _windows(microphone(np.random.default_rng([seed, 2]), normal + change, level))
