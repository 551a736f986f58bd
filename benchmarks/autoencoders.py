"""Compare the autoencoders with baselines in every task, with the functions of the examples.

    python benchmarks/autoencoders.py [--data FOLDER] [--seeds 3] [--only denoising,super-resolution] [--json results.json]

Prints one table: medians over seeds, with the smallest and the largest value in brackets. The seed is that of the training, the
noise and the generated data. `--data` is a folder with MNIST's files in `mnist10k`; by default scikit-learn's digits are used.
Models are measured through their exported graphs, except that of machine sounds: it is measured as a torch module.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import bank_transfers
import denoising
import dimensionality_reduction
import good_records
import machine_anomalies
import odd_digits
import super_resolution
from handwritten_digits import Digits, bundled, mnist

from avizor_export.front_ends.build import fit_constants

Metrics = Mapping[str, float]
# Digits, an empty folder and the seed -> metrics by name.
Measure = Callable[[Digits, Path, int], Metrics]


@dataclass(frozen=True)
class Row:
    """Describes a row of the table: a measure, the name of the model's metric, and those of the baselines by their titles."""

    measure: str
    model: str
    baselines: Mapping[str, str]
    lower_is_better: bool = False


@dataclass(frozen=True)
class Task:
    """Describes what is measured, on what data, and the resulting rows. data: empty for the digits chosen by `--data`."""

    name: str
    data: str
    run: Measure
    rows: tuple[Row, ...]


def _machines(_digits: Digits, folder: Path, seed: int) -> Metrics:
    train, calibration, test = machine_anomalies.make_and_read(folder / "sounds", seed)
    waveforms = torch.from_numpy(np.concatenate(train.windows))
    sound = fit_constants(machine_anomalies.SOUND, [waveforms])
    return machine_anomalies.train_and_export_detector(
        train, calibration, test, sound, folder / "models", compare=True, seed=seed
    )


def _transfers(_digits: Digits, folder: Path, seed: int) -> Metrics:
    bank_transfers.make(folder, seed)
    return bank_transfers.train_and_export(folder, folder / "models", seed)[1]


_SAME_FEATURES = {"PCA": "pca_roc_auc", "dense": "dense_roc_auc"}
_TABLE = (
    Row("ROC AUC", "roc_auc", {"PCA": "pca_roc_auc"}),
    Row("partial AUC", "partial_auc", {"PCA": "pca_partial_auc"}),
)
TASKS = (
    Task(
        "anomaly detection",
        "digits, each left out in turn",
        lambda _, folder, seed: odd_digits.mean_over(bundled(), range(10), folder, seed),
        (
            Row("ROC AUC", "roc_auc", _SAME_FEATURES),
            Row("partial AUC", "partial_auc", {"PCA": "pca_partial_auc", "dense": "dense_partial_auc"}),
        ),
    ),
    Task("machine sounds", "generated machine sounds", _machines, (Row("ROC AUC", "overall", _SAME_FEATURES),)),
    Task("bank transfers", "generated transfers", _transfers, _TABLE),
    Task("good records", "breast-cancer rows", lambda _, folder, seed: good_records.train_and_export(folder, seed)[1], _TABLE),
    Task(
        "dimensionality reduction",
        "",
        lambda digits, folder, seed: dimensionality_reduction.train_and_export(digits, folder, seed)[1],
        (
            Row("squared error", "squared_error", {"PCA": "pca_squared_error"}, lower_is_better=True),
            Row("kNN accuracy", "knn_accuracy", {"PCA": "pca_knn_accuracy"}),
        ),
    ),
    Task(
        "denoising",
        "",
        lambda digits, folder, seed: denoising.train_and_export(digits, folder, seed)[1],
        (Row("PSNR, dB", "psnr", {"noisy": "noisy_psnr", "Gaussian": "gaussian_psnr", "median": "median_psnr"}),),
    ),
    Task(
        "super-resolution",
        "",
        lambda digits, folder, seed: super_resolution.train_and_export(digits, folder, seed)[1],
        (Row("PSNR, dB", "psnr", {"bicubic": "bicubic_psnr"}),),
    ),
)


@dataclass(frozen=True)
class Result:
    """Holds the metrics of a task, one mapping for each seed, and the seconds that they took."""

    task: str
    data: str
    metrics: list[dict[str, float]]
    seconds: float


def measure(task: Task, digits: Digits, seeds: int) -> Result:
    """Run a task for each seed; the output of the examples goes to standard error."""
    started, by_seed = time.monotonic(), []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            print(f"{task.name}, seed {seed}:", flush=True)
            by_seed.append(dict(task.run(digits, Path(folder), seed)))
    return Result(task.name, task.data or digits.origin, by_seed, time.monotonic() - started)


def print_table(results: list[Result]) -> None:
    """Print the results as a markdown table."""
    print("| task | data | measure | autoencoder | baselines | seconds a seed |")
    print("|---|---|---|---:|---|---:|")
    rows = {task.name: task.rows for task in TASKS}
    for result in results:
        for row in rows[result.task]:
            others = "; ".join(f"{title} {_spread(result, name)}" for title, name in row.baselines.items())
            better = " (lower is better)" if row.lower_is_better else ""
            print(
                f"| {result.task} | {result.data} | {row.measure}{better} | {_spread(result, row.model)} | {others} "
                f"| {result.seconds / len(result.metrics):.0f} |"
            )


def _spread(result: Result, name: str) -> str:
    values = [metrics[name] for metrics in result.metrics]
    digits = 2 if "psnr" in name else 4 if "error" in name else 3
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{median(values):.{digits}f}{spread}"


def beaten(result: Result, row: Row) -> list[str]:
    """Return the baselines whose median is at least as good as the model's."""
    sign = -1 if row.lower_is_better else 1

    def middle(name: str) -> float:
        return sign * median(metrics[name] for metrics in result.metrics)

    return [
        f"{result.task}, {row.measure}: {title}" for title, name in row.baselines.items() if middle(name) >= middle(row.model)
    ]


def main() -> None:
    """Measure each task; print the table, and the baselines that are at least as good as the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Folder that holds mnist10k.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="Names of tasks, separated by commas.")
    parser.add_argument("--json", type=Path, help="Also write all metrics there.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, threads of a busy machine wait for each other

    digits = mnist(arguments.data / "mnist10k") if arguments.data else bundled()
    chosen = [task for task in TASKS if not arguments.only or task.name in arguments.only.split(",")]
    results = []
    for task in chosen:
        results.append(measure(task, digits, arguments.seeds))
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")
    print_table(results)
    for task, result in zip(chosen, results, strict=True):
        for row in task.rows:
            for sentence in beaten(result, row):
                print(f"not beaten: {sentence}")


if __name__ == "__main__":
    main()
