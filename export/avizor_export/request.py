"""What to export, and what is known of it; refused before the long work begins where it does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from avizor_export.calibrate import Recording
from avizor_export.serving.settings import ServingSettings, published_settings
from avizor_export.variants.quality import LabelledItems
from avizor_export.variants.variant import check_variant_data
from avizor_inference.errors import ExportError
from avizor_inference.inputs import InputSpec, TensorSpec
from avizor_inference.manifest import NAME_PATTERN, Precision, Task

Items = NDArray[np.generic]


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and what to know of it.

    input: what one raw item is, and the front end that goes into the graph.
    labels: one for each class (classifiers).
    real_items: raw items [n, *item_shape] for parity, from real data.
    normal: normal recordings that were not trained on (autoencoders); without them there are scores and no p-values.
    evaluation: figures measured on held-out data, for the manifest.
    training: figures by epoch, such as the loss, for the plot in the model card.
    verify_with: `triton://HOST:PORT` of a live server to prove the graph on as well.
    held_out: labelled items that were not trained on; their accuracy or ROC AUC goes into the evaluation.
    precision: of the network. Another than fp32 is made from the proven FP32 graph, measured on `held_out`, and refused if it
        loses more than max_drop of accuracy or ROC AUC. int8 takes the ranges of its activations from `real_items`.
    serving: how it is to be served; None takes what the version before has, or the defaults. max_batch_size: that one alone,
        over the rest.
    """

    name: str
    task: Task
    input: InputSpec
    labels: Sequence[str] | None = None
    real_items: Items | None = None
    normal: Iterable[Recording] | None = None
    evaluation: Mapping[str, JsonValue] = field(default_factory=dict)
    training: Mapping[str, Sequence[float]] = field(default_factory=dict)
    verify_with: str | None = None
    held_out: LabelledItems | None = None
    precision: Precision = "fp32"
    max_drop: float = 0.01
    serving: ServingSettings | None = None
    max_batch_size: int | None = None
    factory: str = ""
    weights: Path | None = None

    @property
    def settings(self) -> ServingSettings:
        """How the model is to be served. Raises ExportError where max_batch_size does not fit the rest."""
        serving = self.serving or ServingSettings()
        return serving if self.max_batch_size is None else replace(serving, max_batch_size=self.max_batch_size)


def settled(request: ExportRequest, models: Path) -> ExportRequest:
    """The request with its serving settings, those of the versions before where it names none. Raises ExportError."""
    _check_name(request.name)
    if request.serving is None:
        request = replace(request, serving=published_settings(models, request.name))
    return replace(request, serving=request.settings, max_batch_size=None)


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(f"{name!r} is not a model name; use letters, digits, '-', '_', '.', and begin with a letter or digit")


def check_data(request: ExportRequest, outputs: Sequence[TensorSpec]) -> None:
    """Raise ExportError if labels or items do not fit, or are not what the precision needs: before the long work begins."""
    _check_labels(request, outputs)
    _check_items(request, request.real_items)
    if request.held_out is not None:
        _check_items(request, request.held_out.items)
        request.held_out.check(request.task, len(request.labels or ()))
    check_variant_data(request.precision, request.real_items, request.held_out)


def _check_labels(request: ExportRequest, outputs: Sequence[TensorSpec]) -> None:
    if request.task != "classify":
        if request.labels:
            raise ExportError("labels are for classifiers; leave them out for an autoencoder")
        return
    (classes,) = outputs[0].item_shape
    if request.labels is None or len(request.labels) != classes:
        given = "no labels" if request.labels is None else f"{len(request.labels)} labels"
        raise ExportError(f"{given} for a network with {classes} classes; give one label a line, in the order of the outputs")
    if len(set(request.labels)) != classes or any(not label.strip() or "\n" in label for label in request.labels):
        raise ExportError("labels have to differ, and none may be empty or hold a line break")


def _check_items(request: ExportRequest, items: Items | None) -> None:
    tensor = request.input.tensor()
    if items is not None and (items.dtype != np.dtype(tensor.dtype) or items.shape[1:] != tensor.item_shape):
        raise ExportError(
            f"real items are {items.dtype}{list(items.shape)}; "
            f"{tensor.name} is {tensor.dtype}[n, {', '.join(map(str, tensor.item_shape))}]"
        )
