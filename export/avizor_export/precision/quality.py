"""Measure a graph on labelled held-out items: the quality of a classifier, or the ROC AUC of an autoencoder's scores.

A classifier's metric is its accuracy: how often the most probable class is the item's. Where each item is labelled with all of
its classes (a matrix of 0 and 1, of a multi-label model), it is the mean average precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avizor_export.data.labelled_items import NORMAL_LABELS, LabelledItems
from avizor_export.parity.soundness import Run
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.reports import Metric

# Random rankings from which the mean average precision of chance is taken.
_RANDOM_RANKINGS = 20

# Names in an evaluation of what is measured on held-out items.
MEASURED = ("accuracy", "mean_average_precision", "macro_f1", "roc_auc")

# The output that the metric of a task is computed from.
OUTPUT_OF: dict[Task, str] = {"classify": "probabilities", "reconstruct": "score"}


def metric_of(task: Task, labels: NDArray[np.int64]) -> Metric:
    """Return the metric for items that are labelled so."""
    if task == "reconstruct":
        return "roc_auc"
    return "mean_average_precision" if labels.ndim == 2 else "accuracy"


def measure_quality(run: Run, task: Task, held_out: LabelledItems, batch_size: int = 32) -> float:
    """Run the held-out items and return the task's metric, 0 to 1. Raises ExportError if an output is not finite."""
    return quality(task, _outputs(run, task, held_out, batch_size), held_out.labels)


def measure_macro_f1(run: Run, held_out: LabelledItems, thresholds: Sequence[float]) -> float:
    """Run the held-out items, whose labels are a matrix, and return the macro F1 at the thresholds, 0 to 1."""
    return macro_f1(_outputs(run, "classify", held_out), held_out.labels, thresholds)


def _outputs(run: Run, task: Task, held_out: LabelledItems, batch_size: int = 32) -> Items:
    output = OUTPUT_OF[task]
    return np.concatenate([run(batch)[output] for batch in held_out.batches(batch_size)])


def quality(task: Task, values: Items, labels: NDArray[np.int64]) -> float:
    """Return the metric (0 to 1) of probabilities [n, classes] or scores [n, 1]. Raises ExportError if one is not finite.

    labels: the class of each item, [n], or which classes it has, [n, classes] of 0 and 1; for scores 1 is an anomaly.
    """
    if not np.isfinite(values).all():
        raise ExportError(
            f"{OUTPUT_OF[task]} is not finite on held-out items; numbers overflow in this precision: publish fp32; if it "
            "is fp32 already, leave out items far from those the network was trained on"
        )
    metric = metric_of(task, labels)
    if metric == "mean_average_precision":
        return mean_average_precision(values, labels)
    if metric == "accuracy":
        return float(np.mean(values.argmax(axis=1) == labels))
    return roc_auc(values[:, 0], labels == 1)


def chance_level(task: Task, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return the metric that a network without any skill reaches, and two standard errors of it.

    For accuracy it always answers the most frequent class; for ROC AUC its scores are random (Mann and Whitney, 1947), and for
    mean average precision its probabilities are, drawn several times.
    """
    count, metric = len(labels), metric_of(task, labels)
    if metric == "mean_average_precision":
        rng = np.random.default_rng(0)
        reached = [mean_average_precision(rng.random(labels.shape), labels) for _ in range(_RANDOM_RANKINGS)]
        return float(np.mean(reached)), 2 * float(np.std(reached))
    if metric == "accuracy":
        share = float(np.bincount(labels).max() / count)
        return share, 2 * float(np.sqrt(share * (1 - share) / count))
    anomalies = int(labels.sum())
    return 0.5, 2 * float(np.sqrt((count + 1) / (12 * anomalies * (count - anomalies))))


_BASELINES: dict[Metric, str] = {
    "accuracy": "always answering the most frequent class",
    "mean_average_precision": "random probabilities",
    "roc_auc": "random scores",
}


def chance_warning(task: Task, reached: float, labels: NDArray[np.int64]) -> str | None:
    """Return what is wrong if a metric is no better than chance, and what to do; None if it is better.

    A metric far below chance means that the network does tell items apart, but the labels say the opposite.
    """
    metric, (chance, margin) = metric_of(task, labels), chance_level(task, labels)
    if reached > chance + margin:
        return None
    baseline = _BASELINES[metric]
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


def mean_average_precision(probabilities: Items, labels: NDArray[np.int64]) -> float:
    """Return the mean over the classes of their average precision, leaving out classes that no item has.

    probabilities: [n, classes]; labels: [n, classes] of 0 and 1. The average precision of a class is the sum over thresholds of
    precision times the gain of recall, as in scikit-learn's average_precision_score; equal probabilities are one threshold.
    """
    return float(np.mean([_average_precision(probabilities[:, index], labels[:, index]) for index in _existing(labels)]))


def macro_f1(probabilities: Items, labels: NDArray[np.int64], thresholds: Sequence[float]) -> float:
    """Return the mean over the classes of their F1 at their thresholds, leaving out classes that no item has.

    probabilities: [n, classes]; labels: [n, classes] of 0 and 1. F1 is 2 TP / (2 TP + FP + FN).
    """
    answers = probabilities.astype(np.float32) >= np.asarray(thresholds, np.float32)
    right = labels == 1
    hits, misses = (answers & right).sum(axis=0), (answers != right).sum(axis=0)
    return float(np.mean([2 * hits[index] / (2 * hits[index] + misses[index]) for index in _existing(labels)]))


def _existing(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the classes that at least one item has."""
    return np.flatnonzero(labels.any(axis=0))


def _average_precision(scores: Items, labels: NDArray[np.int64]) -> float:
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # the last item of each run of equal scores
    found = np.diff(hits[ends], prepend=0)
    return float(np.sum(found * (hits[ends] / (ends + 1))) / hits[-1])
