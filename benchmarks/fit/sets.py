"""Write the data of the examples as a user would have it: a folder or a table of normal items, and test items apart."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bank_transfers
import good_records
import machine_anomalies
import numpy as np
import odd_digits
import torch
import transfers
from handwritten_digits import bundled
from PIL import Image

from avizor_export import fit_constants

ODD = 3


@dataclass(frozen=True)
class FitSet:
    """Holds where the data is. by_hand: trains the example on the same items, and returns its ROC AUC on the test items."""

    name: str
    normal: Path
    test_normal: Path
    test_odd: Path
    by_hand: Callable[[Path], float]


def sets(out: Path) -> Iterator[FitSet]:
    """Yield the sets; each is written when it is asked for."""
    yield good(out / "good-records")
    yield digits(out / "odd-digits")
    yield bank(out / "bank-transfers")
    yield machines(out / "machine-sounds")


def good(folder: Path) -> FitSet:
    """Return benign and malignant records."""
    records = good_records.read(0)
    rows = {"normal": np.concatenate([records.train, records.calibration]), "test": records.test, "odd": records.malignant}
    for name, values in rows.items():
        _write_csv(folder / f"{name}.csv", records.columns, values.tolist())
    return FitSet(
        *("good-records", folder / "normal.csv", folder / "test.csv", folder / "odd.csv"),
        lambda models: good_records.train_and_export(models, 0)[1]["roc_auc"],
    )


def digits(folder: Path) -> FitSet:
    """Return pictures of nine digits, and the tenth."""
    small = bundled().in_original_size()
    parts = {
        "normal": small.train[small.train_labels != ODD],
        "test": small.test[small.test_labels != ODD],
        "odd": small.test[small.test_labels == ODD],
    }
    for name, pictures in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture[:, :, 0]).save(folder / name / f"{number:04d}.png")
    return FitSet(
        *("odd-digits", folder / "normal", folder / "test", folder / "odd"),
        lambda models: odd_digits.train_and_export(bundled(), ODD, models, 0)[1]["roc_auc"],
    )


def bank(folder: Path) -> FitSet:
    """Return correct transfers and frauds."""
    bank_transfers.make(folder, 0)
    columns = list(transfers.COLUMNS)
    named = {name: _read_csv(folder / f"{name}.csv") for name in transfers.SPLITS}
    normal = named["train"] + named["calibration"]
    correct = [row for row in named["test"] if row["kind"] == transfers.CORRECT]
    odd = [row for row in named["test"] if row["kind"] != transfers.CORRECT]
    for name, rows in (("normal", normal), ("test-normal", correct), ("odd", odd)):
        _write_csv(folder / f"{name}.csv", columns, [[row[column] for column in columns] for row in rows])
    return FitSet(
        *("bank-transfers", folder / "normal.csv", folder / "test-normal.csv", folder / "odd.csv"),
        lambda models: bank_transfers.train_and_export(folder, models, 0)[1]["roc_auc"],
    )


def machines(folder: Path) -> FitSet:
    """Return sounds of six machines, and of their faults."""
    sounds = folder / "sounds"
    train, calibration, test = machine_anomalies.make_and_read(sounds, 0)
    for split in ("train", "calibration", "test"):
        for path in sorted((sounds / split).glob("*/*.wav")):
            is_normal = path.name.startswith("normal")
            part = ("test-normal" if is_normal else "odd") if split == "test" else "normal"
            target = folder / part / path.parent.name / f"{split}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(path, target)

    def by_hand(models: Path) -> float:
        sound = fit_constants(machine_anomalies.SOUND, torch.from_numpy(np.concatenate(train.windows)).split(64))
        return machine_anomalies.train_and_export_detector(train, calibration, test, sound, models)["overall"]

    return FitSet("machine-sounds", folder / "normal", folder / "test-normal", folder / "odd", by_hand)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
