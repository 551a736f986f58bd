"""Write the files of a version before it is published: manifest.json, config.pbtxt, labels and calibration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import onnx
from pydantic import JsonValue, ValidationError
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.description.graph_layers import multiply_adds_of
from avizor_export.graph.heads import Head
from avizor_export.graph.optional_outputs import OPTIONAL
from avizor_export.networks.thresholds import DEFAULT_THRESHOLD, thresholds_of
from avizor_export.request import ExportRequest
from avizor_export.triton_config.config_pbtxt import generated_config, published_settings
from avizor_export.triton_config.overrides import read_overrides
from avizor_export.triton_config.settings import ServingSettings, with_options
from avizor_inference.anomaly.calibrate import calibrate, calibration_with
from avizor_inference.digests import digest_of, sha256_of_file
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError, ExportError, VersionRefused
from avizor_inference.explain.layers import noise_in
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.calibration_store import activate, store
from avizor_inference.repository.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, Precision, Provenance
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.onnx_graph import graph_of
from avizor_inference.repository.publication import Staging, earlier_digests
from avizor_inference.repository.reports import ParityReport, VariantReport
from avizor_inference.repository.triton_config import CONFIG_FILE, LABELS_FILE, not_served, parse_config, serves_newest
from avizor_inference.strict_json import validation_message


@dataclass(frozen=True)
class ProvenGraph:
    """Hold a graph that was proven equal to its network, and where it comes from.

    proto: the graph to publish. fp32: the graph that it was converted from; the same graph unless another precision was asked
    for. outputs: without the batch. evaluation: metrics by name. simplified: whether the exporter's optimiser rewrote the
    graph. head: of a classifier. precision: of the network. variant: what another precision changed; None for fp32, and for a
    file that came in it.
    """

    proto: onnx.ModelProto
    fp32: onnx.ModelProto
    outputs: tuple[TensorSpec, ...]
    parity: ParityReport
    provenance: Provenance
    evaluation: Mapping[str, JsonValue]
    simplified: bool
    precision: Precision = "fp32"
    head: Head | None = None
    variant: VariantReport | None = None


def manifest_of(request: ExportRequest, stage: Staging, proven: ProvenGraph, probe_sha256: str | None) -> Manifest:
    """Return the manifest of the graph in the staging folder. Raises ExportError if it is not valid."""
    model_path, graph = stage.version_folder / MODEL_FILE, graph_of(proven.proto)
    front_end = request.input.front_end_parameters
    try:
        return Manifest(
            name=request.name,
            version=stage.version,
            task=request.task,
            input=request.input,
            outputs=proven.outputs,
            labels=tuple(request.labels) if request.labels is not None else None,
            activation=proven.head.activation if proven.head else None,
            thresholds=_thresholds(request, proven.head),
            front_end_digest=digest_of(front_end) if front_end else None,
            model_sha256=sha256_of_file(model_path),
            model_bytes=model_path.stat().st_size,
            opset=graph.opset,
            ir_version=graph.ir_version,
            parity=proven.parity,
            simplified=proven.simplified,
            precision=proven.precision,
            precision_of_file=proven.precision != "fp32" and proven.variant is None,
            variant=proven.variant,
            evaluation=dict(proven.evaluation),
            filter_noise=noise_in(proven.fp32),
            multiply_adds=multiply_adds_of(proven.fp32),
            probe_sha256=probe_sha256,
            provenance=proven.provenance,
        )
    except ValidationError as error:
        raise ExportError(f"the manifest cannot be written: {validation_message(error)}") from error


def _thresholds(request: ExportRequest, head: Head | None) -> tuple[float, ...]:
    is_multi_label = head is not None and head.activation == "sigmoid"
    return thresholds_of(request.thresholds, request.labels or ()) if is_multi_label else ()


def provenance_of(request: ExportRequest, factory: str, parameters: int) -> Provenance:
    """Return where a version comes from: its factory, arguments and weights, the time, and the versions of the packages."""
    return Provenance(
        factory=factory,
        arguments=dict(request.arguments),
        weights_sha256=sha256_of_file(request.weights) if request.weights else None,
        weights_key=request.weights_key,
        parameters=parameters,
        created=datetime.now(UTC),
        producers={package: version(package) for package in ("avizor", "torch", "onnx", "onnxscript")},
    )


def write_files(stage: Staging, manifest: Manifest, request: ExportRequest, models: Path) -> tuple[str, ...]:
    """Write manifest.json, and for the model as a whole config.pbtxt and labels. Return notes for the user.

    The previous version's settings are read here, while the name is locked, so that what `avizor tune` wrote meanwhile is kept.
    Raises ExportError if config.pbtxt was edited or config.overrides.pbtxt does not fit.
    """
    (stage.version_folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    digests = earlier_digests(models, manifest.name) | {manifest.version: manifest.model_sha256}
    published = published_settings(models, manifest.name)
    settings, overrides = with_options(published, request.serving), read_overrides(models / manifest.name)
    text = generated_config(manifest, settings, digests, overrides, asked=request.serving)
    (stage.model_folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    if manifest.labels is not None:
        (stage.model_folder / LABELS_FILE).write_text("\n".join(manifest.labels) + "\n", encoding="utf-8")
    notes = _config_notes(published, settings, request, parse_config(text, CONFIG_FILE), manifest.version)
    return (*notes, *_threshold_notes(models, manifest, request))


def _threshold_notes(models: Path, manifest: Manifest, request: ExportRequest) -> Iterator[str]:
    """Yield a note if the previous version's thresholds are not kept because none were given."""
    before = _manifest_before(models, manifest)
    if request.thresholds is None and before is not None and before.thresholds not in ((), manifest.thresholds):
        path = ModelRepository(models).version(manifest.name).folder / MANIFEST_FILE
        yield (
            f"without --thresholds they are {DEFAULT_THRESHOLD:g} for each class, and version {before.version} has others; to "
            f"keep those: --thresholds {shlex.quote(str(path))}"
        )


def _config_notes(
    published: ServingSettings, settings: ServingSettings, request: ExportRequest, config: ModelConfig, version: int
) -> Iterator[str]:
    dropped = sorted(set(published.preferred_batch_sizes) - set(settings.preferred_batch_sizes))
    if dropped and "preferred_batch_sizes" not in request.serving:
        sizes = ", ".join(map(str, dropped))
        yield f"preferred batch sizes over the new max_batch_size {settings.max_batch_size} were dropped: {sizes}"
    if not serves_newest(config, version):
        yield f"{CONFIG_FILE}: {not_served(version)}"


def refuse_other_tensors(models: Path, manifest: Manifest) -> None:
    """Raise ExportError if tensors or labels differ from the previous version's: all versions share one config.pbtxt."""
    before = _manifest_before(models, manifest)
    if before is not None and before.interface != manifest.interface:
        raise ExportError(
            f"version {before.version} of {manifest.name!r} has other inputs, outputs or labels, or another activation"
            f"{_optional_outputs_remedy(before, manifest)}; publish under another name"
        )


def _optional_outputs_remedy(before: Manifest, manifest: Manifest) -> str:
    """Return which optional outputs differ and how to have the same, to follow a message; empty if none differ."""
    old, new = ({output.name for output in version.outputs} for version in (before, manifest))
    added = [name for name in OPTIONAL[manifest.task] if name in new - old]
    missing = [name for name in OPTIONAL[manifest.task] if name in old - new]
    text = f"; it has no {' and no '.join(added)}: {' '.join(f'--leave-out {name}' for name in added)}" if added else ""
    return text + (f"; it has {' and '.join(missing)}, which this version lacks" if missing else "")


def _manifest_before(models: Path, manifest: Manifest) -> Manifest | None:
    """Return the manifest of the newest published version; None if there is none, or it cannot be used and is superseded."""
    try:
        return ModelRepository(models).version(manifest.name).manifest if manifest.version > 1 else None
    except VersionRefused:
        return None


def calibrate_version(stage: Staging, request: ExportRequest) -> None:
    """Score the request's normal recordings with the staged version, and make that its calibration; or take their scores.

    Raises ExportError if that fails.
    """
    version = ModelVersion(stage.name, stage.version, stage.version_folder)
    with EmbeddedEngine(stage.root, device="cpu") as engine:
        try:
            if request.scored is not None:
                calibration = calibration_with(engine, version, request.channels, request.scored)
            else:
                calibration = calibrate(engine, version, request.normal or (), request.channels)
        except CalibrationError as error:
            raise ExportError(str(error)) from error
    store(stage.version_folder, calibration)
    activate(stage.version_folder, calibration)
