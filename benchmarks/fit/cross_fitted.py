"""Measure the false-alarm rate of cross-fitting beside its bound: 20 times other items are few, and the rest are tested."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import good_records
import numpy as np
from fit.run import ALPHA, SPLITS, fit, flagged_by, scores

from avizor_inference.anomaly.cross_fitted import promised_rate

_FEW = 50


def measure_cross_fitting(out: Path) -> Iterator[str]:
    """Yield a table: benign records, _FEW of which are fitted to and the others tested, SPLITS times."""
    records = good_records.read(0)
    benign = np.concatenate([records.train, records.calibration, records.test])
    folder = out / "cross-fitted"
    shares = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(benign))
        for name, places in (("few", order[:_FEW]), ("rest", order[_FEW:])):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([records.columns, *benign[places].tolist()])
        shutil.rmtree(folder / "models", ignore_errors=True)
        _, version = fit(folder / "few.csv", "few", folder / "models", "--seed", str(seed))
        (calibration,) = version.calibrations()
        shares.append(flagged_by(calibration, scores(version, folder / "rest.csv")))
    bound = promised_rate(_FEW, calibration.folds, ALPHA)
    yield ""
    yield "| items | folds | alpha | flagged, 20 splits | bound |"
    yield "|---:|---:|---:|---:|---:|"
    error = np.std(shares) / np.sqrt(SPLITS)
    yield f"| {_FEW} | {calibration.folds} | {ALPHA} | {np.mean(shares):.1%} ± {error:.1%} | {bound:.1%} |"
