"""Export: from a trained torch module to a published version of a model repository, proven equal on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError
from torch import nn

from avizor_export import parity
from avizor_export.adopt import adopt, outputs_of, parameters_of, reference_run
from avizor_export.calibrate import Recording, calibrate
from avizor_export.card import write_card
from avizor_export.first_look import first_look
from avizor_export.publish import Staging, earlier_digests, publish, staging, write_whole
from avizor_export.quality import METRIC_OF, LabelledItems, measure
from avizor_export.served import MEANINGS, ServedModel, serve
from avizor_export.serving import ServingSettings, published_settings
from avizor_export.to_onnx import Simplifier, optimise, to_onnx
from avizor_export.triton_config import config_text
from avizor_export.variant import Guard, check_variant_data, complaint, make_variant
from avizor_export.verify import on_server, parse_address
from avizor_inference.calibration import CALIBRATION_FILE, CALIBRATIONS_FOLDER, Calibration
from avizor_inference.check import check_model
from avizor_inference.config import CONFIG_FILE, LABELS_FILE
from avizor_inference.embedded import CPU, EmbeddedEngine
from avizor_inference.errors import ExportError, ParityError, VersionRefused
from avizor_inference.graph import graph_of
from avizor_inference.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    NAME_PATTERN,
    InputSpec,
    Manifest,
    ParityReport,
    Precision,
    Provenance,
    ServerParity,
    ServerQuality,
    Task,
    TensorInput,
    TensorSpec,
    VariantReport,
    describe,
    digest_of,
    sha256_of_file,
)
from avizor_inference.repository import ModelRepository, ModelVersion

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


@dataclass(frozen=True)
class _Made:
    """A graph that was proven, and where it comes from.

    proto: what is published; fp32: what it was made from, the same unless another precision was asked for.
    """

    proto: onnx.ModelProto
    fp32: onnx.ModelProto
    outputs: tuple[TensorSpec, ...]
    parity: ParityReport
    provenance: Provenance
    evaluation: Mapping[str, JsonValue]
    simplified: bool
    variant: VariantReport | None = None


def export_model(
    network: nn.Module, request: ExportRequest, models: Path, simplify: Simplifier | None = optimise
) -> ModelVersion:
    """Export, prove, calibrate and publish a torch module. Raises ExportError; then nothing is published.

    simplify: what goes over the exported graph; a graph that it breaks is exported once more without it.
    """
    request = _settled(request, models)
    tensor = request.input.tensor()
    example = torch.from_numpy(parity.random_items(tensor, 2))
    served = serve(network, request.input, request.task, example)
    outputs = _outputs(served, example)
    _check_data(request, outputs)
    proto, report, simplified = _proven(request, served, example, outputs, simplify)
    factory = request.factory or f"{type(network).__module__}:{type(network).__qualname__}"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    made = _Made(proto, proto, outputs, report, _provenance(request, factory, parameters), request.evaluation, simplified)
    return _publish(_measured(made, request), request, models)


def adopt_model(path: Path, request: ExportRequest, models: Path, output: str | None = None) -> ModelVersion:
    """Adopt, prove, calibrate and publish an ONNX file. Raises ExportError; then nothing is published.

    The input description is that of the raw items; a TensorInput has to be the graph's own tensor. output: see adopt.adopt.
    """
    request = _settled(request, models)
    first_look(path)
    own = isinstance(request.input, TensorInput)
    spec, proto = adopt(path, None if own else request.input, request.task, output)
    request = replace(request, input=spec, weights=path)
    outputs = outputs_of(proto)
    _check_data(request, outputs)
    report = _prove(request, proto, outputs, reference_run(proto), f"the reference evaluator of onnx {version('onnx')}")
    provenance = _provenance(request, path.name, parameters_of(proto))
    made = _Made(proto, proto, outputs, report, provenance, request.evaluation, simplified=False)
    return _publish(_measured(made, request), request, models)


def _settled(request: ExportRequest, models: Path) -> ExportRequest:
    """The request with its serving settings, those of the versions before where it names none. Raises ExportError."""
    _check_name(request.name)
    if request.serving is None:
        request = replace(request, serving=published_settings(models, request.name))
    return replace(request, serving=request.settings, max_batch_size=None)


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(f"{name!r} is not a model name; use letters, digits, '-', '_', '.', and begin with a letter or digit")


def _proven(
    request: ExportRequest,
    served: ServedModel,
    example: torch.Tensor,
    outputs: Sequence[TensorSpec],
    simplify: Simplifier | None,
) -> tuple[onnx.ModelProto, ParityReport, bool]:
    """The graph, how it was proven, and whether it was simplified: only if it gives the same as before."""
    reference, compared_with = parity.torch_run(served), f"torch {torch.__version__.partition('+')[0]}"
    name = request.input.tensor().name
    proto = to_onnx(served, name, example, simplify)
    try:
        return proto, _prove(request, proto, outputs, reference, compared_with), simplify is not None
    except ParityError:
        if simplify is None:
            raise
        proto = to_onnx(served, name, example, None)
        return proto, _prove(request, proto, outputs, reference, compared_with), False


def _measured(made: _Made, request: ExportRequest) -> _Made:
    """In the precision that was asked for, with its figure on held-out items. Raises ExportError if it loses too much."""
    held_out, task = request.held_out, request.task
    if request.precision != "fp32":
        made = _in_precision(made, request)
    if held_out is None:
        return made
    reached = made.variant.after if made.variant else measure(parity.onnxruntime_run(made.proto), task, held_out)
    figures = {METRIC_OF[task]: reached, "held_out_items": len(held_out.items)}
    return replace(made, evaluation={**made.evaluation, **figures})


def _in_precision(made: _Made, request: ExportRequest) -> _Made:
    held_out, precision = request.held_out, request.precision
    assert held_out is not None  # check_variant_data saw it
    guard = Guard(request.task, held_out, request.max_drop)
    proto, report = make_variant(made.fp32, precision, request.real_items, guard)
    if request.verify_with is not None:
        with _through_server(request, proto, made.outputs, precision) as run:
            reached = measure(run, request.task, held_out, batch_size=min(32, request.settings.max_batch_size))
        report = report.model_copy(update={"server": ServerQuality(address=request.verify_with, after=reached)})
        if not report.passed:
            raise ExportError(f"through {request.verify_with}, {complaint(precision, report, reached)}")
    return replace(made, proto=proto, variant=report)


def _prove(
    request: ExportRequest, proto: onnx.ModelProto, outputs: Sequence[TensorSpec], reference: parity.Run, compared_with: str
) -> ParityReport:
    tensor, real = request.input.tensor(), request.real_items
    report = parity.compare(reference, parity.onnxruntime_run(proto), tensor, real, compared_with)
    if request.verify_with is None:
        return report
    with _through_server(request, proto, outputs, "fp32") as run:
        through_server = parity.compare(reference, run, tensor, real, compared_with)
    return report.model_copy(update={"server": ServerParity(address=request.verify_with, outputs=through_server.outputs)})


def _through_server(
    request: ExportRequest, proto: onnx.ModelProto, outputs: Sequence[TensorSpec], precision: Precision
) -> AbstractContextManager[parity.Run]:
    tensor = request.input.tensor()
    config = config_text(request.name, [tensor], outputs, request.settings, labels=False, digests={}, precision=precision)
    return on_server(parse_address(request.verify_with or ""), proto, config, tensor)


def _publish(made: _Made, request: ExportRequest, models: Path) -> ModelVersion:
    with staging(models, request.name) as stage:
        onnx.save(made.proto, stage.version_folder / MODEL_FILE)
        manifest = _manifest(request, stage, made)
        _write(stage, manifest, request, models)
        _refuse_other_tensors(models, manifest)
        if request.task == "reconstruct" and request.normal is not None:
            _calibrate(stage, request.normal, request.precision)
        problems = check_model(ModelRepository(stage.root), request.name)
        if problems:
            raise ExportError("the version that was made does not pass its own check: " + "; ".join(problems))
        write_card(ModelVersion(request.name, manifest.version, stage.version_folder), made.fp32, request.training)
        folder = publish(stage, models)
    return ModelVersion(request.name, manifest.version, folder)


def _outputs(served: ServedModel, example: torch.Tensor) -> tuple[TensorSpec, ...]:
    with torch.inference_mode():
        values = served.named(example)
    return tuple(
        TensorSpec(name=name, dtype="float32", item_shape=tuple(value.shape[1:]), meaning=MEANINGS[name])
        for name, value in values.items()
    )


def _check_data(request: ExportRequest, outputs: Sequence[TensorSpec]) -> None:
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


def _manifest(request: ExportRequest, stage: Staging, made: _Made) -> Manifest:
    model_path, graph = stage.version_folder / MODEL_FILE, graph_of(made.proto)
    front_end = None if isinstance(request.input, TensorInput) else digest_of(request.input.front_end)
    try:
        return Manifest(
            name=request.name,
            version=stage.version,
            task=request.task,
            input=request.input,
            outputs=made.outputs,
            labels=tuple(request.labels) if request.labels is not None else None,
            front_end_digest=front_end,
            model_sha256=sha256_of_file(model_path),
            model_bytes=model_path.stat().st_size,
            opset=graph.opset,
            ir_version=graph.ir_version,
            parity=made.parity,
            simplified=made.simplified,
            precision=request.precision,
            variant=made.variant,
            evaluation=dict(made.evaluation),
            provenance=made.provenance,
        )
    except ValidationError as error:
        raise ExportError(f"the manifest cannot be written: {describe(error)}") from error


def _provenance(request: ExportRequest, factory: str, parameters: int) -> Provenance:
    return Provenance(
        factory=factory,
        weights_sha256=sha256_of_file(request.weights) if request.weights else None,
        parameters=parameters,
        created=datetime.now(UTC),
        producers={package: version(package) for package in ("avizor", "torch", "onnx", "onnxscript")},
    )


def _write(stage: Staging, manifest: Manifest, request: ExportRequest, models: Path) -> None:
    (stage.version_folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    config = config_text(
        manifest.name,
        [manifest.input.tensor()],
        manifest.outputs,
        request.settings,
        labels=manifest.labels is not None,
        digests=earlier_digests(models, manifest.name) | {manifest.version: manifest.model_sha256},
        precision=manifest.precision,
    )
    (stage.model_folder / CONFIG_FILE).write_text(config, encoding="utf-8")
    if manifest.labels is not None:
        (stage.model_folder / LABELS_FILE).write_text("\n".join(manifest.labels) + "\n", encoding="utf-8")


def _refuse_other_tensors(models: Path, manifest: Manifest) -> None:
    """A version keeps the inputs, outputs and labels of those before it: config.pbtxt is one for all."""
    if manifest.version == 1:
        return
    try:
        before = ModelRepository(models).version(manifest.name).manifest
    except VersionRefused:  # no engine runs it, and this export is the mend that its message asks for
        return

    def outside(of: Manifest) -> object:
        tensors = (of.input.tensor(), *of.outputs)
        return [(tensor.name, tensor.dtype, tensor.item_shape) for tensor in tensors], of.labels

    if outside(before) != outside(manifest):
        raise ExportError(
            f"version {before.version} of {manifest.name!r} has other inputs, outputs or labels; publish under another name"
        )


def _calibrate(stage: Staging, normal: Iterable[Recording], precision: Precision) -> None:
    with EmbeddedEngine(stage.root, device="cpu") as engine:
        calibration = calibrate(engine, stage.name, normal, CPU, precision)
    write_calibration(stage.version_folder, calibration)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the active calibration of a version folder, and a copy under its id that later ones do not replace."""
    text = calibration.model_dump_json(indent=1) + "\n"
    kept = folder / CALIBRATIONS_FOLDER / f"{calibration.id}.json"
    kept.parent.mkdir(exist_ok=True)
    write_whole(kept, text)
    write_whole(folder / CALIBRATION_FILE, text)  # last: it may be in use
