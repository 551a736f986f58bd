"""Measure a graph on labelled held-out items: accuracy of a classifier, ROC AUC of an autoencoder's scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avizor_export.data.labelled_items import NORMAL_LABELS, LabelledItems
from avizor_export.parity.soundness import Run
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Task

Metric = Literal["accuracy", "roc_auc"]

# For each task: the metric, and the output it is computed from.
METRIC_OF: dict[Task, Metric] = {"classify": "accuracy", "reconstruct": "roc_auc"}
OUTPUT_OF: dict[Task, str] = {"classify": "probabilities", "reconstruct": "score"}


def measure_quality(run: Run, task: Task, held_out: LabelledItems, batch_size: int = 32) -> float:
    """Run the held-out items and return the task's metric, 0 to 1. Raises ExportError if an output is not finite."""
    output = OUTPUT_OF[task]
    return quality(task, np.concatenate([run(batch)[output] for batch in held_out.batches(batch_size)]), held_out.labels)


def quality(task: Task, values: Items, labels: NDArray[np.int64]) -> float:
    """Return the metric (0 to 1) of probabilities [n, classes] or scores [n, 1]. Raises ExportError if one is not finite.

    labels: the class of each item, [n]; for scores 1 is an anomaly.
    """
    if not np.isfinite(values).all():
        raise ExportError(
            f"{OUTPUT_OF[task]} is not finite on held-out items; numbers overflow in this precision: publish fp32; if it "
            "is fp32 already, leave out items far from those the network was trained on"
        )
    if task == "classify":
        return float(np.mean(values.argmax(axis=1) == labels))
    return roc_auc(values[:, 0], labels == 1)


def chance_level(task: Task, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return the metric that a network without any skill reaches, and two standard errors of it.

    For accuracy it always answers the most frequent class; for ROC AUC its scores are random (Mann and Whitney, 1947).
    """
    count = len(labels)
    if task == "classify":
        share = float(np.bincount(labels).max() / count)
        return share, 2 * float(np.sqrt(share * (1 - share) / count))
    anomalies = int(labels.sum())
    return 0.5, 2 * float(np.sqrt((count + 1) / (12 * anomalies * (count - anomalies))))


def chance_warning(task: Task, reached: float, labels: NDArray[np.int64]) -> str | None:
    """Return what is wrong if a metric is no better than chance, and what to do; None if it is better.

    A metric far below chance means that the network does tell items apart, but the labels say the opposite.
    """
    metric, (chance, margin) = METRIC_OF[task], chance_level(task, labels)
    if reached > chance + margin:
        return None
    baseline = "always answering the most frequent class" if task == "classify" else "random scores"
    by = f"({chance:.4f} by {baseline}, plus or minus {margin:.4f})"
    is_autoencoder = task == "reconstruct"
    if reached >= chance - margin:
        correct = "belong to the items" if is_autoencoder else "are in the order of the outputs"
        return (
            f"{metric} {reached:.4f} is what chance gives {by}; check that the labels {correct}, and that the "
            "pre-processing (--input) is that of training"
        )
    if is_autoencoder:
        return (
            f"{metric} {reached:.4f} is far below what chance gives {by}: normal items score higher than anomalies, and with "
            f"the labels swapped it would be {1 - reached:.4f}; check which items of --evaluate-on are normal (those "
            f"named {', '.join(NORMAL_LABELS[:3])}, false, or the number 0), and whether the network was trained on normal ones"
        )
    return (
        f"{metric} {reached:.4f} is below what chance gives {by}: the labels are not in the order of the outputs, or the "
        "network answers other classes than the frequent ones; put the lines of --labels into the order of training, and "
        "check that the pre-processing (--input) is that of training"
    )


def roc_auc(scores: Items, anomalies: NDArray[np.bool_]) -> float:
    """Return the probability that a random anomaly scores above a random normal item; ties count half.

    scores: [n]; anomalies: [n], True for an anomaly. Computed from ranks (Mann and Whitney, 1947), ties share their mean rank:
    (sum of the anomalies' ranks - m (m + 1) / 2) / (m n), with m anomalies and n normal items.
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    m, n = int(anomalies.sum()), int((~anomalies).sum())
    return float((ranks[anomalies].sum() - m * (m + 1) / 2) / (m * n))
