"""Fit a classifier as it was planned, and publish it with its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from avizor_export.exporter import export_model
from avizor_export.fitting.classifier.choose import few_note
from avizor_export.fitting.classifier.fit import Fitted, fit_classifier
from avizor_export.fitting.classifier.labelled import Labelled, read_labelled
from avizor_export.fitting.classifier.plan import ClassifierPlan
from avizor_export.fitting.classifier.training import LARGEST_WEIGHT, class_weights
from avizor_export.fitting.kept import BY_SCRIPT, Kept
from avizor_export.fitting.progress import training_progress
from avizor_export.request import ExportRequest
from avizor_export.stages import stage
from avizor_inference.arrays import Items
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.repository.models import ModelVersion

FEW = 20  # items of a class, under which its figures say little
SEEN = "items seen"  # beside the names of the network's weights
REAL_ITEMS = 64  # for the proof of parity
_SHOWN_WEIGHTS = 1.5  # the largest class has so many times the items of the smallest: then weights are told


@dataclass(frozen=True)
class Published:
    """Holds a version and what was measured of it.

    weights: which the classes had, as a line; empty for about equal ones. warnings: sentences without a full stop.
    """

    version: ModelVersion
    fitted: Fitted
    weights: str
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the figures as lines for people."""
        training, stopping, measuring = map(len, vars(self.fitted.parts).values())
        yield f"trained with {training} items, ended by {stopping}, measured on {measuring} others"
        if self.weights:
            yield self.weights
        yield from self.fitted.confusion.lines()


def fit_and_publish_classifier(plan: ClassifierPlan, name: str, models: Path) -> Published:
    """Read, train, measure, prove and publish."""
    asked = plan.asked
    with stage("read the items"):
        data = read_labelled(plan.items, plan.input, asked.seed)
    with training_progress("train") as progress:
        fitted = fit_classifier(data, plan.input, plan.design, asked.network.weights, asked.steps, asked.seed, progress)
    arguments: dict[str, JsonValue] = {choice.name: choice.value for choice in plan.choices}
    request = replace(
        classifier_request(name, fitted, data, Kept(plan.record(), kept_tensors(fitted, data))), arguments=arguments
    )
    version = export_model(fitted.network, request, models)
    return Published(version, fitted, weights_line(data, fitted), tuple(warnings_of(fitted, data)))


def classifier_request(name: str, fitted: Fitted, data: Labelled, kept: Kept | None = None) -> ExportRequest:
    """Return the request that exports a fitted classifier, with its figures.

    data: what it was fitted to. kept: what is kept beside the version; None: what a script knows.
    """
    parts = fitted.parts
    if kept is None:
        record = {**BY_SCRIPT, "task": "classify", "design": fitted.design.record()}
        kept = Kept(record, kept_tensors(fitted, data))
    evaluation: dict[str, JsonValue] = {
        **fitted.confusion.evaluation(),
        "items that trained": len(parts.training),
        "items that ended the training": len(parts.stopping),
    }
    return ExportRequest(
        name=name,
        task="classify",
        input=fitted.input,
        labels=fitted.labels,
        real_items=real_items(data, fitted),
        evaluation=evaluation,
        training=fitted.curve,
        factory="avizor fit --labels",
        kept=kept.files(),
    )


def kept_tensors(fitted: Fitted, data: Labelled, earlier: Tensor | None = None) -> dict[str, Tensor]:
    """Return what is kept beside a version: the weights, and which items the network has seen, int64, by their digests.

    earlier: those that a version before has seen.
    """
    seen = data.groups[np.concatenate([fitted.parts.training, fitted.parts.stopping])]
    before = np.zeros(0, np.int64) if earlier is None else earlier.numpy()
    return {**fitted.network.state_dict(), SEEN: torch.from_numpy(np.unique(np.concatenate([before, seen])))}


def real_items(data: Labelled, fitted: Fitted) -> Items:
    """Return raw rows of items that were held out: [n <= REAL_ITEMS, *item_shape]."""
    rows, _, _ = data.of(fitted.parts.measuring)
    return rows[evenly_spaced(len(rows), REAL_ITEMS)]


def warnings_of(fitted: Fitted, data: Labelled) -> Iterator[str]:
    """Yield what makes the figures doubtful."""
    confusion, counts = fitted.confusion, data.counts
    most, held = max(counts, key=counts.__getitem__), confusion.counts.sum(axis=1)
    if note := few_note(counts, held.tolist(), FEW):
        yield note
    chance = float(held.max() / max(1, held.sum()))
    if confusion.interval[0] <= chance:
        yield (
            f"the accuracy is not clearly better than always answering {most!r} ({chance:.2%}): the classes may not differ in "
            "what the network sees, or there are too few items"
        )


def weights_line(data: Labelled, fitted: Fitted) -> str:
    """Return which weights the classes had in the training; empty where they are nearly equal."""
    counts = np.bincount(data.classes[fitted.parts.training], minlength=len(data.labels))
    if counts.max() < _SHOWN_WEIGHTS * counts.min():
        return ""
    weights = class_weights(torch.from_numpy(counts)).numpy()
    low, high = int(weights.argmin()), int(weights.argmax())
    bound = f", but none more than {LARGEST_WEIGHT:g} times" if weights[high] == LARGEST_WEIGHT else ""
    return (
        f"class weights from {weights[low]:.2g} ({data.labels[low]}) to {weights[high]:.2g} ({data.labels[high]}): each class "
        f"counts the same in the training{bound}"
    )
