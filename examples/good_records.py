"""Good records: train a detector on the benign rows of scikit-learn's breast-cancer data, and flag the malignant ones.

    python examples/good_records.py --models models

The exported graph takes thirty raw measurements. Half of the benign rows are for training, a quarter for calibration, and the
rest for the test, together with all malignant rows.

It ends with:

    flagged at alpha 0.05:
      6.7% of 90 benign rows
      80.7% of 212 malignant rows
    Of benign rows 5.0% are promised on average over calibrations; with 89 rows
    to calibrate and 90 to test, 19 in 20 runs stay at 10.0% or below.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from baselines import areas, pca, pca_errors
from numpy.typing import NDArray
from publishing import Metrics, Run, publish_measured
from scipy.stats import betabinom
from sklearn.datasets import load_breast_cancer
from training import in_batches

from avizor_export import ExportRequest, build_front_end, describe_export, fit_constants, train_detector
from avizor_inference import (
    EmbeddedEngine,
    InferRequest,
    Judge,
    ModelVersion,
    NormalRecording,
    NumberColumn,
    TableFrontEnd,
    TableInput,
    infer_rows,
)

Rows = NDArray[np.float32]

HELD_OUT = 30  # of the rows to train with: they end the training
EXPLAINED = 0.9  # share of the variance that the principal components of the comparison explain


class Records(NamedTuple):
    """Holds the rows of each split, float32[n, 30], and the names of the columns."""

    train: Rows
    calibration: Rows
    test: Rows
    malignant: Rows
    columns: tuple[str, ...]


def read(seed: int = 0) -> Records:
    """Return the bundled rows; the order of the benign ones depends on the seed."""
    data = load_breast_cancer()
    rows = data.data.astype(np.float32)
    benign = np.random.default_rng(seed).permutation(rows[data.target == 1])
    half, rest = len(benign) // 2, len(benign) * 3 // 4
    columns = tuple(str(name) for name in data.feature_names)
    return Records(benign[:half], benign[half:rest], benign[rest:], rows[data.target == 0], columns)


def train_and_export(models: Path, seed: int = 0) -> tuple[ModelVersion, Metrics]:
    """Train, export, and measure through the exported model. Return its version and metrics, which are in its manifest too."""
    records = read(seed)
    columns = tuple(NumberColumn(name=name, lower=0) for name in records.columns)
    spec = fit_constants(TableInput(front_end=TableFrontEnd(columns=columns)), [torch.from_numpy(records.train)])
    scaling = build_front_end(spec)
    features = in_batches(scaling, torch.from_numpy(records.train))
    detector, history = train_detector(features[:-HELD_OUT], features[-HELD_OUT:], seed=seed)
    request = ExportRequest(
        name="good-records",
        task="reconstruct",
        training=history,
        input=spec,
        real_items=records.test[:64],
        normal=[NormalRecording("benign", row[None]) for row in records.calibration],
    )

    def measure(run: Run) -> Metrics:
        rows = np.concatenate([records.test, records.malignant])
        tested, malignant = in_batches(scaling, torch.from_numpy(rows)), np.arange(len(rows)) >= len(records.test)
        metrics = areas("", malignant, run(rows, "score")[:, 0])
        metrics |= areas("pca_", malignant, pca_errors(pca(features, EXPLAINED), tested))
        # Malignant rows are larger in nearly every column, which a simple distance from the mean detects.
        return metrics | areas("distance_", malignant, (tested * tested).mean(dim=1).numpy())

    return publish_measured(detector, request, models, measure)


def flagged(version: ModelVersion, rows: Rows, alpha: float) -> float:
    """Return the share of the rows that the exported model flags at alpha."""
    (calibration,) = version.calibrations()
    with EmbeddedEngine(version.folder.parent.parent) as engine:
        scores = infer_rows(engine, InferRequest(version.name, {"record": rows}, ["score"]))["score"][:, 0]
    p_values, _ = Judge(calibration).window_p_values("benign", scores)
    return float((p_values <= alpha).mean())


def usual_false_alarms(alpha: float, calibration: int, tested: int) -> float:
    """Return the share of normal rows that 19 in 20 runs do not exceed, if each has other rows for calibration and test.

    Given the calibration, the rate of false alarms has a beta distribution (Vovk, "Conditional validity of inductive conformal
    predictors", 2012).
    """
    flagging = int(alpha * (calibration + 1) + 1e-9)
    return float(betabinom.ppf(0.95, tested, flagging, calibration + 1 - flagging) / tested)


def main() -> None:
    """Train, measure and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alpha", type=float, default=0.05)
    arguments = parser.parse_args()

    version, metrics = train_and_export(arguments.models, arguments.seed)
    describe_export(version)
    for name, value in metrics.items():
        print(f"  {name:16s} {value:.3f}")
    records = read(arguments.seed)
    print(f"flagged at alpha {arguments.alpha:g}:")
    for name, rows in (("benign", records.test), ("malignant", records.malignant)):
        print(f"  {flagged(version, rows, arguments.alpha):.1%} of {len(rows)} {name} rows")
    usual = usual_false_alarms(arguments.alpha, len(records.calibration), len(records.test))
    print(
        f"Of benign rows {arguments.alpha:.1%} are promised on average over calibrations; with {len(records.calibration)} rows"
    )
    print(f"to calibrate and {len(records.test)} to test, 19 in 20 runs stay at {usual:.1%} or below.")


if __name__ == "__main__":
    main()
