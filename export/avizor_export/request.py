"""Define what to export, and check that it is valid before the long computation begins."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.graph.heads import Head
from avizor_export.graph.optional_outputs import check_left_out
from avizor_export.graph.output_meanings import MEANINGS
from avizor_export.graph.output_options import OutputOptions
from avizor_export.live_triton.address import check_server, parse_address
from avizor_export.model_names import check_name
from avizor_export.networks.thresholds import Thresholds, thresholds_of
from avizor_export.parity.finite_front_end import refuse_front_end
from avizor_export.precision.accuracy_guard import check_variant_data
from avizor_export.triton_config.config_pbtxt import expected_settings
from avizor_export.triton_config.settings import ServingOptions, ServingSettings
from avizor_inference.anomaly.calibrate import ScoredItems
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.tensor_spec import MESSAGE_BYTES, TensorSpec
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.manifest import Activation, Precision, Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportRequest:
    """Holds what to export, and all that is known about it.

    input: what one raw item is, and the front end that goes into the graph.
    labels: one for each class (classifiers).
    real_items: raw items [n, *item_shape] for parity, from real data.
    normal: normal recordings that were not trained on (autoencoders); without them there are scores but no p-values.
    scored: their scores instead, where they are known already, such as by cross-fitting.
    channels: those that they were read with.
    evaluation: metrics measured on held-out data, for the manifest.
    training: numbers by epoch, such as the loss, for the plot in the model card.
    verify_with: `triton://HOST:PORT` of a live server to prove the graph on as well.
    held_out: labelled items that were not trained on; their metric goes into the evaluation.
    precision: of the network. Any but fp32 is converted from the proven FP32 graph, measured on `held_out`, and refused if it
        loses more than max_drop of accuracy or ROC AUC (0 to 1). int8 takes the ranges of its activations from `real_items`.
    output, activation, embedding, leave_out: what the outputs are, where the network does not show it; see OutputOptions.
    thresholds: of a multi-label classifier: from which probability on a class counts as present. One number for all classes, or
        one for each, in order or by label; None is 0.5.
    serving: settings that differ from the previous version's, or from the defaults for a first version.
    factory, arguments, weights, weights_key: where the network comes from, for the manifest: what built it with which
        arguments, the file of its weights, and the set of weights in a file with several.
    kept: files to keep in the version's folder, by name. Nothing that runs a model reads them.
    """

    name: str
    task: Task
    input: InputSpec
    labels: Sequence[str] | None = None
    real_items: Items | None = None
    normal: Iterable[NormalRecording] | None = None
    scored: ScoredItems | None = None
    channels: ChannelMode = "each"
    evaluation: Mapping[str, JsonValue] = field(default_factory=dict)
    training: Mapping[str, Sequence[float]] = field(default_factory=dict)
    verify_with: str | None = None
    held_out: LabelledItems | None = None
    precision: Precision = "fp32"
    max_drop: float = 0.01
    output: str | None = None
    activation: Activation | None = None
    thresholds: Thresholds | None = None
    embedding: str | None = None
    leave_out: Sequence[str] = ()
    serving: ServingOptions = field(default_factory=ServingOptions)
    factory: str = ""
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    weights: Path | None = None
    weights_key: str | None = None
    kept: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def output_options(self) -> OutputOptions:
        """Return what is said about the outputs of the network."""
        return OutputOptions(self.output, self.activation, self.embedding, self.leave_out)


@dataclass(frozen=True)
class ResolvedRequest(ExportRequest):
    """Holds a request that has been checked.

    settings: how the model will be served, overrides included, unless config.pbtxt or the overrides change during the export.
    """

    settings: ServingSettings = field(default_factory=ServingSettings)


def resolve(request: ExportRequest, models: Path) -> ResolvedRequest:
    """Check the request, and return it with its serving settings, which default to the previous version's.

    Raises RepositoryError for the URL of an object store, ExportError for a name, items, settings or overrides that are not
    valid, for a config.pbtxt that was edited, and for a server to verify with that does not answer.
    """
    check_name(request.name, models)
    check_left_out(request.leave_out, request.task)
    _check_output_options(request)
    _check_input(request)
    if request.verify_with is not None:
        check_server(parse_address(request.verify_with))
    tensor = request.input.tensor()
    settings = expected_settings(models, request.name, tensor, request.serving)
    _warn_of_full_batch(tensor, settings.max_batch_size)
    return ResolvedRequest(**vars(request), settings=settings)


def _warn_of_full_batch(tensor: TensorSpec, size: int) -> None:
    """Warn of a batch too large for any request: the server runs a full batch as it loads the model, and may lack memory."""
    largest = MESSAGE_BYTES // tensor.item_bytes
    if size > max(largest, 1):
        _log.warning(
            "max_batch_size %d is more than a request can carry (2 GiB: %d items of %s), and the server runs that many as it "
            "loads the model: give a smaller --max-batch-size",
            size,
            largest,
            tensor.name,
        )


def _check_output_options(request: ExportRequest) -> None:
    """Raise ExportError for what is said of outputs that the model will not have."""
    if request.task != "classify" and (request.activation or request.thresholds is not None):
        raise ExportError("activation and thresholds are for classifiers; leave them out for an autoencoder")
    if request.embedding is not None and "embedding" in request.leave_out:
        raise ExportError(f"embedding is both to be taken from {request.embedding!r} and to be left out; choose one")
    if request.activation == "softmax" and request.thresholds is not None:
        raise ExportError(_NO_THRESHOLDS)


def _check_input(request: ExportRequest) -> None:
    """Raise ExportError for items or a front end that are not valid, which would else appear as errors of the network."""
    tensor = request.input.tensor()
    if tensor.name in MEANINGS:
        raise ExportError(
            f"input {tensor.name!r} has the name of an output; give it another one, which for an .onnx file means to "
            "export it again with another name of its input"
        )
    _check_items(request, request.real_items, "real")
    refuse_front_end(request.input, request.real_items)


_NO_THRESHOLDS = (
    "thresholds are for multi-label classifiers, and the probabilities of a softmax sum to 1, so that the most probable class "
    "is the answer; leave out --thresholds, or give --activation sigmoid if any number of classes may be right"
)


def check_head(request: ExportRequest, head: Head | None) -> None:
    """Raise ExportError if thresholds or labels of held-out items are for the other kind of classifier.

    head: None for an autoencoder.
    """
    if head is None or head.activation == "sigmoid":
        return
    if request.thresholds is not None:
        raise ExportError(_NO_THRESHOLDS)
    if request.held_out is not None and request.held_out.labels.ndim == 2:
        raise ExportError(
            "the held-out items have a matrix of labels, and of a softmax exactly one class is right; give one label for each "
            "item, or --activation sigmoid if any number of classes may be right"
        )


def check_data(request: ExportRequest, outputs: Sequence[TensorSpec], head: Head | None) -> None:
    """Raise ExportError if labels or items do not fit, or if there is too little data for the precision.

    head: of a classifier; None for an autoencoder.
    """
    _check_labels(request, outputs, head)
    if head is not None:
        thresholds_of(request.thresholds, request.labels or ())
    _check_items(request, request.real_items, "real")
    if request.held_out is not None:
        _check_items(request, request.held_out.items, "held-out")
        request.held_out.check(request.task, len(request.labels or ()))
    check_variant_data(request.precision, request.real_items, request.held_out)


def _check_labels(request: ExportRequest, outputs: Sequence[TensorSpec], head: Head | None) -> None:
    if head is None:
        if request.labels:
            raise ExportError("labels are for classifiers; leave them out for an autoencoder")
        return
    (classes,) = outputs[0].item_shape
    if request.labels is None or len(request.labels) != classes:
        count = "no labels" if request.labels is None else f"{len(request.labels)} labels"
        expected = "1 class" if classes == 1 else f"{classes} classes"
        raise ExportError(f"{count} for a network with {expected}; {_labels_to_give(head, classes)}")
    check_labels(request.labels)


def _labels_to_give(head: Head, classes: int) -> str:
    """Return which labels a network needs, to follow a message."""
    if head.is_binary:
        return (
            "it returns one number for an item: give two labels, first the class of low numbers (negative), then that of high "
            "ones (positive); or one label, and --activation sigmoid, for one class with a threshold"
        )
    if classes == 1:
        return "give one label; for two classes by one number leave out --activation sigmoid, and give the negative one first"
    return "give one label a line, in the order of the outputs"


def check_labels(labels: Sequence[str]) -> None:
    """Raise ExportError, with the label, if a label is repeated, is empty or contains a line break."""
    rule = "labels have to differ, and none may be empty or contain a line break"
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        if not label.strip() or "\n" in label:
            raise ExportError(f"{rule}: label {number} is {'empty' if not label.strip() else repr(label)}")
        if label in seen:
            raise ExportError(f"{rule}: {label!r} is repeated")
        seen.add(label)


def _check_items(request: ExportRequest, items: Items | None, kind: str) -> None:
    tensor = request.input.tensor()
    if items is None:
        return
    if items.dtype != np.dtype(tensor.dtype) or items.shape[1:] != tensor.item_shape:
        raise ExportError(
            f"{kind} items are {items.dtype}{list(items.shape)}; "
            f"{tensor.name} is {tensor.dtype}[n, {', '.join(map(str, tensor.item_shape))}]"
        )
    nan_is_missing = request.input.nan_is_missing
    wrong = np.isinf(items) if nan_is_missing else ~np.isfinite(items)
    if wrong.any():
        number = int(wrong.reshape(len(items), -1).any(axis=1).argmax())
        forbidden = "infinity" if nan_is_missing else "NaN or infinity"
        raise ExportError(f"{kind} item {number} contains {forbidden}; fix it or leave it out")
