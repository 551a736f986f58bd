"""Bank transfers: train a detector on correct transfers only, measure it on unknown kinds of fraud, and export it.

    python examples/bank_transfers.py --data transfers --models models

Generates the data first if there is none (see transfers.py). The exported graph takes the raw columns, fills missing values and
standardises them. The calibration is separate for each type of account.

It ends with:

    flagged at alpha 0.01:
      correct                  1.5%
      takeover                 47.0%
      structuring              67.0%
      mule                     100.0%
      redirected               52.0%
      probing                  96.0%
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import transfers
from baselines import areas, pca, pca_errors
from numpy.typing import NDArray
from publishing import Metrics, Run, publish_measured
from sklearn.metrics import roc_auc_score
from training import in_batches

from avizor_export import ExportRequest, build_front_end, describe_export, fit_constants, train_detector
from avizor_inference import (
    CategoryColumn,
    Columns,
    EmbeddedEngine,
    InferRequest,
    Judge,
    ModelVersion,
    NumberColumn,
    SourceRule,
    TableFrontEnd,
    TableInput,
    infer_rows,
    read_recordings,
    read_table,
)

TRANSFER = TableInput(
    front_end=TableFrontEnd(
        columns=(
            CategoryColumn(name="account", categories=("private", "business")),
            NumberColumn(name="amount", lower=0, scale="log1p"),
            NumberColumn(name="balance", lower=0, scale="log1p"),
            NumberColumn(name="hour", lower=0, upper=24),
            CategoryColumn(name="channel", categories=transfers.CHANNELS),
            CategoryColumn(name="country", categories=transfers.COUNTRIES),
            NumberColumn(name="payee_age", lower=0, scale="log1p"),
            NumberColumn(name="since_last", lower=0, scale="log1p"),
            NumberColumn(name="last_24h", lower=0, scale="log1p"),
        )
    )
)
HELD_OUT = 1000  # of the rows to train with: they end the training
EXPLAINED = 0.9  # share of the variance that the principal components of the comparison explain
ALPHA = 0.01


def make(folder: Path, seed: int) -> None:
    """Write the splits that do not exist yet."""
    for number, (name, (normal, frauds)) in enumerate(transfers.SPLITS.items()):
        if not (folder / f"{name}.csv").exists():
            transfers.write(transfers.generate(normal, frauds, 3 * seed + number), folder / f"{name}.csv")


def train_and_export(data: Path, models: Path, seed: int = 0) -> tuple[ModelVersion, Metrics]:
    """Train, export, and measure through the exported model. Return its version and metrics, which are in its manifest too."""
    rows = read_table(data / "train.csv", TRANSFER).rows()
    spec = fit_constants(TRANSFER, [torch.from_numpy(rows)])
    features = in_batches(build_front_end(spec), torch.from_numpy(rows))
    detector, history = train_detector(features[:-HELD_OUT], features[-HELD_OUT:], seed=seed)
    request = ExportRequest(
        name="bank-transfers",
        task="reconstruct",
        training=history,
        input=spec,
        real_items=read_table(data / "test.csv", spec).rows()[-64:],
        normal=read_recordings(data / "calibration.csv", spec, SourceRule(), Columns(source="account")),
    )
    return publish_measured(detector, request, models, lambda run: measure(run, spec, rows, data))


def measure(run: Run, spec: TableInput, train: NDArray[np.float32], data: Path) -> Metrics:
    """Return the ROC AUC on the test split, overall and by kind of fraud, and that of two baselines on the same features.

    pca: reconstruction from principal components. distance: mean of the squared features, which uses only
    their means and deviations. partial: up to a false-alarm rate of 0.1.
    """
    test = read_table(data / "test.csv", spec)
    rows, kinds = test.rows(), np.array(test.texts("kind"))
    scaling = build_front_end(spec)
    known, new = (in_batches(scaling, torch.from_numpy(part)) for part in (train, rows))
    fraud, score = kinds != transfers.CORRECT, run(rows, "score")[:, 0]
    metrics = areas("", fraud, score)
    for kind in transfers.FRAUDS:
        chosen = (kinds == kind) | ~fraud
        metrics[f"roc_auc_{kind}"] = float(roc_auc_score(fraud[chosen], score[chosen]))
    metrics |= areas("pca_", fraud, pca_errors(pca(known, EXPLAINED), new))
    return metrics | areas("distance_", fraud, (new * new).mean(dim=1).numpy())


def flagged(version: ModelVersion, data: Path) -> dict[str, float]:
    """Return the share of the test split's transfers that the exported model flags at ALPHA, by kind."""
    test = read_table(data / "test.csv", TRANSFER, ["account"])
    rows, kinds, accounts = test.rows(), np.array(test.texts("kind")), np.array(test.texts("account"))
    (calibration,) = version.calibrations()
    with EmbeddedEngine(version.folder.parent.parent) as engine:
        scores = infer_rows(engine, InferRequest(version.name, {"record": rows}, ["score"]))["score"][:, 0]
    judge = Judge(calibration)
    pairs = zip(accounts, scores.tolist(), strict=True)
    p_values = np.array([judge.item_p_value(account, score).value for account, score in pairs])
    return {kind: float((p_values[kinds == kind] <= ALPHA).mean()) for kind in (transfers.CORRECT, *transfers.FRAUDS)}


def main() -> None:
    """Generate the data if it is missing, train, measure and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("transfers"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--seed", type=int, default=0, help="Seed of the generated data and of the training.")
    arguments = parser.parse_args()

    make(arguments.data, arguments.seed)
    version, metrics = train_and_export(arguments.data, arguments.models, arguments.seed)
    describe_export(version)
    for name, value in metrics.items():
        print(f"  {name:24s} {value:.3f}")
    print(f"flagged at alpha {ALPHA:g}:")
    for kind, share in flagged(version, arguments.data).items():
        print(f"  {kind:24s} {share:.1%}")


if __name__ == "__main__":
    main()
