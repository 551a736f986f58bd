"""Export: from a trained torch module to a published version of a model repository, proven equal on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from avizor_export.calibrate import Recording, calibrate
from avizor_export.publish import Staging, publish, staging
from avizor_export.served import MEANINGS, ServedModel, serve
from avizor_export.to_onnx import to_onnx
from avizor_export.triton_config import config_text
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
    """

    name: str
    task: Task
    input: InputSpec
    labels: Sequence[str] | None = None
    real_items: Items | None = None
    normal: Iterable[Recording] | None = None
    evaluation: Mapping[str, JsonValue] = field(default_factory=dict)
    max_batch_size: int = 64
    factory: str = ""
    weights: Path | None = None


def export_model(network: nn.Module, request: ExportRequest, models: Path) -> ModelVersion:
    """Export, prove, calibrate and publish. Raises ExportError; then nothing is published."""
    if not re.fullmatch(NAME_PATTERN, request.name):
        raise ExportError(
            f"{request.name!r} is not a model name; use letters, digits, '-', '_', '.', and begin with a letter or digit"
        )
    tensor = request.input.tensor()
    example = torch.from_numpy(parity.random_items(tensor, 2))
    served = serve(network, request.input, request.task, example)
    outputs = _outputs(served, example)
    _check_labels(request, outputs)
    _check_items(request, tensor)
    proto = to_onnx(served, tensor.name, example)
    report = parity.compare(served, proto, tensor, request.real_items)
    with staging(models, request.name) as stage:
        onnx.save(proto, stage.version_folder / MODEL_FILE)
        manifest = _manifest(request, stage, outputs, proto, report, network)
        _write(stage, manifest, request)
        _refuse_other_tensors(models, manifest)
        if request.task == "reconstruct" and request.normal is not None:
            _calibrate(stage, request.normal)
        problems = check_model(ModelRepository(stage.root), request.name)
        if problems:
            raise ExportError("the version that was made does not pass its own check: " + "; ".join(problems))
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


def _manifest(
    request: ExportRequest,
    stage: Staging,
    outputs: tuple[TensorSpec, ...],
    proto: onnx.ModelProto,
    report: ParityReport,
    network: nn.Module,
) -> Manifest:
    model_path, graph = stage.version_folder / MODEL_FILE, graph_of(proto)
    front_end = None if isinstance(request.input, TensorInput) else digest_of(request.input.front_end)
    try:
        return Manifest(
            name=request.name,
            version=stage.version,
            task=request.task,
            input=request.input,
            outputs=outputs,
            labels=tuple(request.labels) if request.labels is not None else None,
            front_end_digest=front_end,
            model_sha256=sha256_of_file(model_path),
            model_bytes=model_path.stat().st_size,
            opset=graph.opset,
            ir_version=graph.ir_version,
            parity=report,
            evaluation=dict(request.evaluation),
            provenance=_provenance(request, network),
        )
    except ValidationError as error:
        raise ExportError(f"the manifest cannot be written: {describe(error)}") from error


def _provenance(request: ExportRequest, network: nn.Module) -> Provenance:
    return Provenance(
        factory=request.factory or f"{type(network).__module__}:{type(network).__qualname__}",
        weights_sha256=sha256_of_file(request.weights) if request.weights else None,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
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
