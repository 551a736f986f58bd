"""Generate labelled machine sounds from a seed: normal operation, and faults of known size.

machine_synthesis/ synthesises the sound of a machine; this file makes recordings of it and writes them.

Every recording is 16 kHz mono 16-bit WAV of ``RECORDING_SAMPLES`` samples (4.16 s, two windows of 33280 samples).
Three types of machine (fan, motor, pump) with two units each; a unit has its own fixed blade count, speed, housing
resonances and level. During a recording speed and load drift slowly, the room adds noise and occasional bumps, and the
microphone has a random gain and direction (a spectral tilt).

The splits are independent:

* seeds: every split, base seed, machine, condition and index has its own recording seed (see ``recording_seed``);
* operating points: ``train`` runs in the even speed and load bands, ``calibration`` and ``test`` in the odd ones. The
  bands interleave, so a model trained on ``train`` interpolates. ``calibration`` and ``test`` have the same bands: the
  conformal p-value needs their normal recordings to be exchangeable.

The size of a fault is known exactly: ``FAULT_TO_SIGNAL_DB`` (machine_synthesis/faults.py) is the range of 10 log10(power
of the change by the fault / power of the normal machine signal), both over the whole recording and without room noise.
The ratio drawn for a recording is exact before the 16-bit rounding, and is written into ``labels.csv``.

Layout: ``OUT/<split>/<machine-id>/<condition>_<index>.wav`` and ``OUT/<split>/labels.csv``.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from machine_synthesis.faults import FAULT_TO_SIGNAL_DB, FAULTS_OF_TYPE, fault_change
from machine_synthesis.normal import machine_sound
from machine_synthesis.operation import SPLITS, draw_operating_point
from machine_synthesis.room import microphone, room_noise
from machine_synthesis.signals import KEPT, SAMPLE_RATE, Array, power
from machine_synthesis.units import UNITS, MachineUnit

NORMAL = "normal"
CONDITIONS = (NORMAL, *FAULT_TO_SIGNAL_DB)


@dataclass(frozen=True)
class Recording:
    """Holds a finished recording: ``samples`` float64[RECORDING_SAMPLES] in [-1, 1], and its labels."""

    samples: Array
    speed_rpm: float
    load: float
    fault_to_signal_db: float | None


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
    """Return the seed of one recording: a mixed-radix number, so that no two recordings of any splits share a seed."""
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
        out: folder for all splits; created if missing.
        split: ``train``, ``calibration`` or ``test``.
        normal_per_machine: normal recordings of each of the six machines, at least 0.
        faulty_per_machine_and_fault: recordings of each fault a machine can have, at least 0.
        seed: base seed, 0 to ``MAX_BASE_SEED`` - 1; the recordings of each split differ also for the same seed.
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
    """Write the split that the command line describes."""
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
