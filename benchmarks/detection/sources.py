"""Make the sets of the benchmark: tables, spoken digits, machine sounds, pictures, bank transfers and generated series.

The seed draws the split, and what is generated. All parts are disjoint, and cut by recording. Sizes are bounded (LIMITS), so
that a whole run is a matter of an hour.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import transfers
from bank_transfers import TRANSFER
from detection import machines, series
from detection.sets import DetectionSet, Items, of_parts, of_recordings, single
from handwritten_digits import mnist
from numpy.typing import NDArray
from promise_data import LONG_DIGIT_WINDOW, digit_sound
from spoken_digits import Recording, read
from training import in_batches

from avizor_export import build_front_end, fit_constants
from avizor_inference import read_table

# Items at most: training, statistics, calibration, normal items of the test, anomalies.
TABLE_LIMITS = (2000, 300, 400, 500, 500)
DIGIT_LIMITS = (500, 120, 200, 200, 200)
IMAGE_LIMITS = (1200, 200, 300, 300, 300)
TRANSFER_LIMITS = (2000, 300, 400, 500, 500)
# Of the normal items: training, statistics, calibration, test.
SHARES = (0.5, 0.1, 0.2, 0.2)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TABLES = (
    "annthyroid", "cardiotocography", "fault", "landsat", "letter", "mammography",
    "optdigits", "pageblocks", "pima", "satellite", "stamps", "waveform",
)  # fmt: skip
NORMAL_PARTS = 4

Make = Callable[[Path, int], DetectionSet]


def sources() -> Mapping[str, Make]:
    """Return what makes each set, by its name: from the folder of the data and a seed."""
    made: dict[str, Make] = {f"table {name}": _table(name) for name in TABLES}
    made |= {f"speaker {name} left out": _spoken(lambda each, name=name: each.speaker == name) for name in SPEAKERS}  # type: ignore[misc]
    made |= {f"spoken {digit} left out": _spoken(lambda each, digit=digit: each.digit == digit) for digit in range(10)}  # type: ignore[misc]
    made |= {f"MNIST {digit} left out": _images(digit) for digit in range(10)}
    made |= {f"series {kind}": _series(kind) for kind in series.NORMAL}
    made["bank transfers"] = _transfers
    made["machine sounds"] = lambda _, seed: machines.make(seed)
    return {name: _named(name, make) for name, make in made.items()}


def _named(name: str, make: Make) -> Make:
    """Return what makes the set under its name, with its only column under the same."""

    def named(data: Path, seed: int) -> DetectionSet:
        made = make(data, seed)
        columns = {column or name: items for column, items in made.anomalies.items()}
        return DetectionSet(name, made.family, made.train, made.statistics, made.calibration, made.normal, columns)

    return named


def _split(count: int, limits: Sequence[int], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return the places of the normal items in each of the four parts, drawn without replacement."""
    places = rng.permutation(count)
    bounds = np.cumsum([0, *(int(share * count) for share in SHARES)])
    return [places[bounds[part] : bounds[part + 1]][: limits[part]] for part in range(NORMAL_PARTS)]


def _table(name: str) -> Make:
    def make(data: Path, seed: int) -> DetectionSet:
        with np.load(data / "tables" / f"{name}.npz") as file:
            rows, odd = file["X"].astype(np.float64), file["y"] == 1
        rng = np.random.default_rng(seed)
        normal = rows[~odd]
        parts = [normal[places] for places in _split(len(normal), TABLE_LIMITS, rng)]
        anomalies = rng.permutation(rows[odd])[: TABLE_LIMITS[-1]]
        mean, std = parts[0].mean(axis=0), parts[0].std(axis=0)
        scaled = [single((part - mean) / np.where(std > 0, std, 1)) for part in (*parts, anomalies)]
        return _of("tables", scaled)

    return make


def _spoken(is_odd: Callable[[Recording], bool]) -> Make:
    def make(data: Path, seed: int) -> DetectionSet:
        recordings = read(data / "fsdd", digit_sound(LONG_DIGIT_WINDOW))
        rng = np.random.default_rng(seed)
        normal, odd = ([each.windows for each in recordings if is_odd(each) is wanted] for wanted in (False, True))
        parts = [[normal[place] for place in places] for places in _split(len(normal), DIGIT_LIMITS, rng)]
        parts.append([odd[place] for place in rng.permutation(len(odd))[: DIGIT_LIMITS[-1]]])
        sound = fit_constants(digit_sound(LONG_DIGIT_WINDOW), [torch.from_numpy(np.concatenate(parts[0]))])
        front_end = build_front_end(sound)
        features = [
            of_recordings([in_batches(front_end, torch.from_numpy(windows)).numpy() for windows in part]) for part in parts
        ]
        return _of("spoken digits", features)

    return make


def _images(odd: int) -> Make:
    def make(data: Path, seed: int) -> DetectionSet:
        digits = mnist(data / "mnist10k").in_original_size()
        pixels, labels = np.concatenate([digits.train, digits.test]), np.concatenate([digits.train_labels, digits.test_labels])
        # Means of 2 x 2 pixels, in 0..1.
        small = pixels[..., 0].reshape(len(pixels), 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255
        rng = np.random.default_rng(seed)
        normal = small[labels != odd]
        parts = [normal[places] for places in _split(len(normal), IMAGE_LIMITS, rng)]
        parts.append(rng.permutation(small[labels == odd])[: IMAGE_LIMITS[-1]])
        return _of("images", [single(part) for part in parts])

    return make


def _transfers(data: Path, seed: int) -> DetectionSet:
    """Generate transfers of the example, through its front end; the frauds are a fifth of each kind."""
    frauds = TRANSFER_LIMITS[-1] // len(transfers.FRAUDS)
    rows = transfers.generate(sum(TRANSFER_LIMITS[:-1]), frauds, 7000 + seed)
    with tempfile.TemporaryDirectory() as folder:
        transfers.write(rows, Path(folder) / "transfers.csv")
        raw = read_table(Path(folder) / "transfers.csv", TRANSFER).rows()
    bounds = np.cumsum([0, *TRANSFER_LIMITS])
    parts = [raw[start:end] for start, end in itertools.pairwise(bounds)]
    parts[-1] = np.random.default_rng(seed).permutation(parts[-1])
    front_end = build_front_end(fit_constants(TRANSFER, [torch.from_numpy(parts[0])]))
    return _of("transfers", [single(in_batches(front_end, torch.from_numpy(part)).numpy()) for part in parts])


def _series(kind: str) -> Make:
    return lambda _, seed: _of("series", [single(part) for part in series.make(kind, seed)])


def _of(family: str, parts: Sequence[Items]) -> DetectionSet:
    """Return a set with one column."""
    return of_parts("", family, parts[:NORMAL_PARTS], {"": parts[NORMAL_PARTS]})
