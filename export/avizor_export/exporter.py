"""Export: from a trained torch module to a published version of a model repository, proven equal on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
from avizor_export.publish import Staging, publish, staging
from avizor_export.served import MEANINGS, ServedModel, serve
from avizor_export.to_onnx import to_onnx
from avizor_export.triton_config import config_text
from avizor_export.verify import on_server, parse_address
from avizor_inference.calibration import CALIBRATION_FILE, CALIBRATIONS_FOLDER, Calibration
from avizor_inference.check import check_model
from avizor_inference.config import CONFIG_FILE, LABELS_FILE
from avizor_inference.embedded import CPU, EmbeddedEngine
from avizor_inference.errors import ExportError
from avizor_inference.graph import graph_of
from avizor_inference.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    NAME_PATTERN,
    InputSpec,
    Manifest,
    ParityReport,
    Provenance,
    ServerParity,
    Task,
    TensorInput,
    TensorSpec,
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
    max_batch_size: int = 64
    factory: str = ""
    weights: Path | None = None


@dataclass(frozen=True)
class _Made:
    """A graph that was proven, and where it comes from."""

    proto: onnx.ModelProto
    outputs: tuple[TensorSpec, ...]
    parity: ParityReport
    provenance: Provenance


def export_model(network: nn.Module, request: ExportRequest, models: Path) -> ModelVersion:
    """Export, prove, calibrate and publish a torch module. Raises ExportError; then nothing is published."""
    _check_name(request.name)
    tensor = request.input.tensor()
    example = torch.from_numpy(parity.random_items(tensor, 2))
    served = serve(network, request.input, request.task, example)
    outputs = _outputs(served, example)
    _check_labels(request, outputs)
    _check_items(request, tensor)
    proto = to_onnx(served, tensor.name, example)
    report = _prove(request, proto, outputs, parity.torch_run(served), f"torch {torch.__version__.partition('+')[0]}")
    factory = request.factory or f"{type(network).__module__}:{type(network).__qualname__}"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return _publish(_Made(proto, outputs, report, _provenance(request, factory, parameters)), request, models)


def adopt_model(path: Path, request: ExportRequest, models: Path, output: str | None = None) -> ModelVersion:
    """Adopt, prove, calibrate and publish an ONNX file. Raises ExportError; then nothing is published.

    The input description is that of the raw items; a TensorInput has to be the graph's own tensor. output: see adopt.adopt.
    """
    _check_name(request.name)
    own = isinstance(request.input, TensorInput)
    spec, proto = adopt(path, None if own else request.input, request.task, output)
    request = replace(request, input=spec, weights=path)
    outputs = outputs_of(proto)
    _check_labels(request, outputs)
    _check_items(request, spec.tensor())
    report = _prove(request, proto, outputs, reference_run(proto), f"the reference evaluator of onnx {version('onnx')}")
    return _publish(_Made(proto, outputs, report, _provenance(request, path.name, parameters_of(proto))), request, models)


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(f"{name!r} is not a model name; use letters, digits, '-', '_', '.', and begin with a letter or digit")


def _prove(
    request: ExportRequest, proto: onnx.ModelProto, outputs: Sequence[TensorSpec], reference: parity.Run, compared_with: str
) -> ParityReport:
    tensor, real = request.input.tensor(), request.real_items
    report = parity.compare(reference, parity.onnxruntime_run(proto), tensor, real, compared_with)
    if request.verify_with is None:
        return report
    address = parse_address(request.verify_with)
    config = config_text(request.name, [tensor], outputs, request.max_batch_size, labels=False, sha256="")
    with on_server(address, proto, config, tensor) as run:
        through_server = parity.compare(reference, run, tensor, real, compared_with)
    return report.model_copy(update={"server": ServerParity(address=request.verify_with, outputs=through_server.outputs)})


def _publish(made: _Made, request: ExportRequest, models: Path) -> ModelVersion:
    with staging(models, request.name) as stage:
        onnx.save(made.proto, stage.version_folder / MODEL_FILE)
        manifest = _manifest(request, stage, made)
        _write(stage, manifest, request)
        _refuse_other_tensors(models, manifest)
        if request.task == "reconstruct" and request.normal is not None:
            _calibrate(stage, request.normal)
        problems = check_model(ModelRepository(stage.root), request.name)
        if problems:
            raise ExportError("the version that was made does not pass its own check: " + "; ".join(problems))
        write_card(ModelVersion(request.name, manifest.version, stage.version_folder), made.proto, request.training)
        folder = publish(stage, models)
    return ModelVersion(request.name, manifest.version, folder)


def _outputs(served: ServedModel, example: torch.Tensor) -> tuple[TensorSpec, ...]:
    with torch.inference_mode():
        values = served.named(example)
    return tuple(
        TensorSpec(name=name, dtype="float32", item_shape=tuple(value.shape[1:]), meaning=MEANINGS[name])
        for name, value in values.items()
    )


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


def _check_items(request: ExportRequest, tensor: TensorSpec) -> None:
    items = request.real_items
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
            evaluation=dict(request.evaluation),
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


def _write(stage: Staging, manifest: Manifest, request: ExportRequest) -> None:
    (stage.version_folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    config = config_text(
        manifest.name,
        [manifest.input.tensor()],
        manifest.outputs,
        request.max_batch_size,
        labels=manifest.labels is not None,
        sha256=manifest.model_sha256,
    )
    (stage.model_folder / CONFIG_FILE).write_text(config, encoding="utf-8")
    if manifest.labels is not None:
        (stage.model_folder / LABELS_FILE).write_text("\n".join(manifest.labels) + "\n", encoding="utf-8")


def _refuse_other_tensors(models: Path, manifest: Manifest) -> None:
    """A version keeps the inputs, outputs and labels of those before it: config.pbtxt is one for all."""
    if manifest.version == 1:
        return
    before = ModelRepository(models).version(manifest.name).manifest

    def outside(of: Manifest) -> object:
        tensors = (of.input.tensor(), *of.outputs)
        return [(tensor.name, tensor.dtype, tensor.item_shape) for tensor in tensors], of.labels

    if outside(before) != outside(manifest):
        raise ExportError(
            f"version {before.version} of {manifest.name!r} has other inputs, outputs or labels; publish under another name"
        )


def _calibrate(stage: Staging, normal: Iterable[Recording]) -> None:
    with EmbeddedEngine(stage.root, device="cpu") as engine:
        calibration = calibrate(engine, stage.name, normal, CPU)
    write_calibration(stage.version_folder, calibration)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the active calibration of a version folder, and a copy under its id that later ones do not replace."""
    text = calibration.model_dump_json(indent=1) + "\n"
    kept = folder / CALIBRATIONS_FOLDER / f"{calibration.id}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(text, encoding="utf-8")
    (folder / CALIBRATION_FILE).write_text(text, encoding="utf-8")
