"""Export a trained torch module or an ONNX file: prove the graph equal to it, then publish a version."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from pydantic import JsonValue
from torch import nn

from avizor_export.description.graph_layers import parameters_of
from avizor_export.front_ends.build import feature_shape
from avizor_export.graph.changed_probabilities import check_ends_in_logits
from avizor_export.graph.ends_in_sigmoid import within_unit
from avizor_export.graph.heads import Head, second_activation_warning
from avizor_export.graph.logits import LOGITS, are_scaled_probabilities, scaled_error
from avizor_export.graph.output_meanings import meanings
from avizor_export.graph.quantised import is_quantised, refuse_dynamic
from avizor_export.graph.to_onnx import Simplifier, optimise, to_onnx
from avizor_export.graph.wrap import wrap
from avizor_export.graph.wrapped_classifier import WrappedClassifier, applies_activation, head_in
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_export.live_triton.address import parse_address
from avizor_export.live_triton.verify import run_on_server
from avizor_export.networks.ml_operators import labels_of_file
from avizor_export.networks.onnx_adoption import Adopted, adopt, features_name, outputs_of
from avizor_export.networks.onnx_rows import by_batches
from avizor_export.networks.onnx_sandbox import check_in_sandbox
from avizor_export.networks.thresholds import thresholds_of
from avizor_export.parity.compare import compare_runs, onnxruntime_run, torch_run
from avizor_export.parity.constant_outputs import constant_outputs_warning
from avizor_export.parity.probe_items import items_by_kind, random_items
from avizor_export.parity.references import Reference, reference_of
from avizor_export.parity.rounding import perturbed_graph, perturbed_torch, with_rounding_of_sound
from avizor_export.parity.soundness import Run
from avizor_export.precision.accuracy_guard import INT8_ON_CUDA, Guard, make_version, refusal_message
from avizor_export.precision.embedding_quality import embedding_quality
from avizor_export.precision.quality import measure_macro_f1, measure_quality, metric_of
from avizor_export.publication.files import (
    ProvenGraph,
    calibrate_version,
    manifest_of,
    provenance_of,
    refuse_other_tensors,
    write_files,
)
from avizor_export.publication.model_card import write_card
from avizor_export.publication.probe_outputs import probe_of
from avizor_export.request import ExportRequest, ResolvedRequest, check_data, check_head, resolve
from avizor_export.stages import stage
from avizor_export.triton_config.fields_text import config_text
from avizor_inference.arrays import Array, Items
from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import ExportError, ParityError
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import MODEL_FILE, Precision
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.onnx_graph import ML_DOMAIN, uses_ml_operators
from avizor_inference.repository.probe import PROBE_FILE
from avizor_inference.repository.publication import Staging, publish, staging
from avizor_inference.repository.reports import ParityReport, ServerParity, ServerQuality
from avizor_inference.repository.triton_config import CONFIG_FILE, OVERRIDES_FILE

_log = logging.getLogger(__name__)

_ML_ON_GPU = (
    "operators of %s run on the CPU, also with the target %s: only what is before and after them uses the GPU; "
    "choose --target cpu if that is little"
)


def export_model(
    network: nn.Module, request: ExportRequest, models: Path, simplify: Simplifier | None = optimise
) -> ModelVersion:
    """Export, prove, calibrate and publish a torch module; return the published version.

    models: the repository. simplify: rewrites the exported graph; if that changes its outputs, it is exported again without.
    Raises ExportError or ParityError, and then publishes nothing.
    """
    resolved = resolve(request, models)
    example = torch.from_numpy(random_items(resolved.input, 2, real=resolved.real_items))
    with wrap(network, resolved.input, resolved.task, example, resolved.output_options) as wrapped:
        check_data(resolved, _outputs(wrapped, example, resolved), head_in(wrapped))
        proto, report, is_simplified = _export_proven(resolved, wrapped, example, simplify)
        outputs, head = _outputs(wrapped, example, resolved), head_in(wrapped)
    factory = resolved.factory or f"{type(network).__module__}:{type(network).__qualname__}"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    provenance = provenance_of(resolved, factory, parameters)
    graph = ProvenGraph(proto, proto, outputs, report, provenance, resolved.evaluation, is_simplified, head=head)
    return _publish(_measure(graph, resolved), resolved, models)


def adopt_model(path: Path, request: ExportRequest, models: Path, *, free_batch: bool = False) -> ModelVersion:
    """Adopt, prove, calibrate and publish an ONNX file; return the published version.

    The request's input describes the raw items; a TensorInput has to be the input of the graph. models: the repository.
    free_batch: free the batch of a graph that was written for one batch size; it is then compared with the file row by row.
    Raises ExportError or ParityError, and then publishes nothing.
    """
    resolved = resolve(request, models)
    check_in_sandbox(path, item_shape=feature_shape(resolved.input), free_batch=free_batch)
    if resolved.task == "classify":
        resolved = replace(resolved, labels=labels_of_file(path, resolved.labels, resolved.output))
    with stage("adopt the graph"):
        options, real = resolved.output_options, resolved.real_items
        adopted = adopt(path, resolved.input, resolved.task, options, real, free_frozen_batch=free_batch)
    spec, proto, head = adopted.input, adopted.proto, adopted.head
    resolved = replace(resolved, input=spec, weights=path)
    outputs = outputs_of(adopted)
    precision = _precision_of_file(proto, resolved, path)
    check_data(resolved, outputs, head)
    check_head(resolved, head)
    if uses_ml_operators(proto) and resolved.settings.needs_gpu:
        _log.warning(_ML_ON_GPU, ML_DOMAIN, resolved.settings.target)
    reference = _reference_of_file(adopted, resolved.real_items)
    report = _prove(resolved, proto, outputs, reference, precision)
    _warn_of_second_activation(reference.run, resolved, head)
    provenance = provenance_of(resolved, path.name, parameters_of(proto))
    graph = ProvenGraph(
        proto, proto, outputs, report, provenance, resolved.evaluation, simplified=False, head=head, precision=precision
    )
    return _publish(_measure(graph, resolved), resolved, models)


def _precision_of_file(proto: onnx.ModelProto, request: ResolvedRequest, path: Path) -> Precision:
    """Return the precision in which a file came. Raises ExportError if it is quantised, and another precision is asked for."""
    refuse_dynamic(proto.graph, path)
    if not is_quantised(proto.graph):
        return "fp32"
    if request.precision != "fp32":
        raise ExportError(f"{path} came quantised to int8; leave out --{request.precision}, or export the float32 network")
    if request.settings.target == "gpu":
        _log.warning(INT8_ON_CUDA)
    return "int8"


def _reference_of_file(adopted: Adopted, real: Items | None) -> Reference:
    """Return the reference that an adopted graph is compared with, also for perturbed features.

    It is the file's own graph. If its batch was freed, that runs row by row, in batches of the size that the file has.
    """
    proto, rows = adopted.file or adopted.proto, adopted.frozen
    example = random_items(adopted.input, rows or 2, real=real)
    reference = reference_of(proto, example)
    if reference.note:
        _log.warning("%s", reference.note)

    def in_batches(run: Run) -> Run:
        return by_batches(run, rows) if rows else run

    def perturbed(perturbation: Array) -> Run:
        return in_batches(reference_of(perturbed_graph(proto, features_name(adopted.input), perturbation), example).run)

    how = f"{reference.name}, on the file's own batches of {rows}" if rows else reference.name
    return replace(reference, run=in_batches(reference.run), name=how, perturbed=perturbed)


def _export_proven(
    request: ResolvedRequest, wrapped: WrappedNetwork, example: torch.Tensor, simplify: Simplifier | None
) -> tuple[onnx.ModelProto, ParityReport, bool]:
    """Return the graph, its parity, and whether it was simplified, which is so only if that changed no output."""
    name = f"torch {torch.__version__.partition('+')[0]}"
    run = with_rounding_of_sound(torch_run(wrapped), wrapped, request.input)
    reference = Reference(run, name, perturbed=perturbed_torch(wrapped))
    tensor = request.input.tensor().name
    proto = to_onnx(wrapped, tensor, example, simplify)
    if applies_activation(wrapped, proto, example):
        assert isinstance(wrapped, WrappedClassifier)
        wrapped.take_as_given()
        proto = to_onnx(wrapped, tensor, example, simplify)
    check_head(request, head_in(wrapped))
    outputs, is_simplified = _outputs(wrapped, example, request), simplify is not None
    try:
        report = _prove(request, proto, outputs, reference)
    except ParityError:
        if simplify is None:
            raise
        proto, is_simplified = to_onnx(wrapped, tensor, example, None), False
        try:
            report = _prove(request, proto, outputs, reference)
        except ParityError as error:
            raise ParityError(f"with the exporter's optimiser and without it, {error}") from error
    _warn_of_second_activation(reference.run, request, head_in(wrapped))
    return proto, report, is_simplified


def _warn_of_second_activation(reference: Run, request: ResolvedRequest, head: Head | None) -> None:
    """Warn if the network may have applied a sigmoid that its graph does not show."""
    if head is None or head.is_given:
        return
    items = items_by_kind(request.input, request.real_items)
    logits = np.concatenate([reference(items[kind])[LOGITS] for kind in ("random", "real") if kind in items])
    if not head.is_binary and are_scaled_probabilities(logits):
        raise scaled_error(float(logits[0].sum()))
    if within_unit(logits):
        _log.warning("%s", second_activation_warning(head))


def _measure(graph: ProvenGraph, request: ResolvedRequest) -> ProvenGraph:
    """Return the graph in the precision that was asked for, with its metric on held-out items.

    Raises ExportError if it loses too much.
    """
    held_out, task = request.held_out, request.task
    if request.precision != "fp32":
        with stage(f"convert to {request.precision} and measure"):
            graph = _convert(graph, request)
    if held_out is None:
        return graph
    if graph.variant:
        metric = graph.variant.after
    else:
        with stage("measure on held-out items"):
            metric = measure_quality(onnxruntime_run(graph.proto), task, held_out)
    measured: dict[str, JsonValue] = {metric_of(task, held_out.labels): metric, "held_out_items": len(held_out.items)}
    if held_out.labels.ndim == 2:
        thresholds = thresholds_of(request.thresholds, request.labels or ())
        measured["macro_f1"] = measure_macro_f1(onnxruntime_run(graph.proto), held_out, thresholds)
    with stage("measure the embedding on held-out items"):
        if embedding := embedding_quality(onnxruntime_run(graph.proto), held_out):
            measured["embedding"] = embedding
    return replace(graph, evaluation={**graph.evaluation, **measured})


def _convert(graph: ProvenGraph, request: ResolvedRequest) -> ProvenGraph:
    """Return the graph in int8 or float16, measured through the server as well if one is named."""
    held_out, precision = request.held_out, request.precision
    assert held_out is not None  # as check_variant_data made sure
    guard = Guard(request.task, held_out, request.max_drop)
    proto, report = make_version(graph.fp32, precision, request.real_items, guard, request.settings.target)
    if request.verify_with is not None:
        with _run_through_server(request, proto, graph.outputs, precision) as run:
            metric = measure_quality(run, request.task, held_out, batch_size=min(32, request.settings.max_batch_size))
        report = report.model_copy(update={"server": ServerQuality(address=request.verify_with, after=metric)})
        if not report.passed:
            raise ExportError(f"through {request.verify_with}, {refusal_message(precision, report, metric)}")
    return replace(graph, proto=proto, precision=precision, variant=report)


def _prove(
    request: ResolvedRequest,
    proto: onnx.ModelProto,
    outputs: Sequence[TensorSpec],
    reference: Reference,
    precision: Precision = "fp32",
) -> ParityReport:
    """Compare the graph with its reference, on ONNX Runtime and through the server if one is named. Raises ExportError."""
    check_ends_in_logits(proto)

    def compare(run: Run) -> ParityReport:
        return compare_runs(reference.run, run, request.input, request.real_items, reference.name, reference.perturbed)

    with stage("open it in ONNX Runtime"):
        run = onnxruntime_run(proto)
    report = compare(run)
    _warn_of_weak_proof(report)
    if request.verify_with is None:
        return report
    with _run_through_server(request, proto, outputs, precision) as run:
        server_report = compare(run)
    server = ServerParity(
        address=request.verify_with,
        batch_sizes=tuple(sorted({min(size, request.settings.max_batch_size) for size in server_report.batch_sizes})),
        outputs=server_report.outputs,
        top1_agreement=server_report.top1_agreement,
        rank_correlation=server_report.rank_correlation,
    )
    return report.model_copy(update={"server": server})


def _warn_of_weak_proof(report: ParityReport) -> None:
    if "zeros" not in report.samples:
        _log.warning(
            "zeros are left out of the parity check: they make constant maps, and a norm over a constant map returns rounding "
            "errors, in %s too",
            report.compared_with,
        )
    if report.same_for_all:
        _log.warning("%s", constant_outputs_warning(report.same_for_all, "real" in report.samples))


def _run_through_server(
    request: ResolvedRequest, proto: onnx.ModelProto, outputs: Sequence[TensorSpec], precision: Precision
) -> AbstractContextManager[Run]:
    tensor = request.input.tensor()
    config = config_text(request.name, [tensor], outputs, request.settings, labels=False, digests={}, precision=precision)
    return run_on_server(parse_address(request.verify_with or ""), proto, config, tensor)


def _publish(graph: ProvenGraph, request: ResolvedRequest, models: Path) -> ModelVersion:
    with staging(models, request.name, error=ExportError) as staged:
        with stage("write the version"):
            onnx.save(graph.proto, staged.version_folder / MODEL_FILE)
            probe = probe_of(graph.proto, request)
            manifest = manifest_of(request, staged, graph, probe.write(staged.version_folder / PROBE_FILE) if probe else None)
            notes = write_files(staged, manifest, request, models)
            for file, data in request.kept.items():
                (staged.version_folder / file).write_bytes(data)
            refuse_other_tensors(models, manifest)
        if request.task == "reconstruct" and (request.normal is not None or request.scored is not None):
            with stage("calibrate"):
                calibrate_version(staged, request)
        with stage("check and publish the version"):
            _check_staged(staged, request.name, models)
            write_card(ModelVersion(request.name, manifest.version, staged.version_folder), graph.fp32, request.training)
            published = publish(staged, models)
    for note in notes:
        _log.warning("%s", note)
    if published.ended:
        _log.warning("version %d is served from now on: this ends the choice of version %d", manifest.version, published.ended)
    return ModelVersion(request.name, manifest.version, published.folder)


def _check_staged(staged: Staging, name: str, models: Path) -> None:
    """Raise ExportError if the staged version does not pass `avizor models check`."""
    problems = check_model(ModelRepository(staged.root), name)
    if not problems:
        return
    path = models / name / OVERRIDES_FILE
    is_overridden = path.is_file() and any(CONFIG_FILE in problem for problem in problems)
    remedy = f". {path} is merged over the configuration: correct it, or delete it" if is_overridden else ""
    raise ExportError(f"the exported version does not pass its own check: {'; '.join(problems)}{remedy}")


def _outputs(wrapped: WrappedNetwork, example: torch.Tensor, request: ResolvedRequest) -> tuple[TensorSpec, ...]:
    with torch.inference_mode():
        shapes = {name: tuple(value.shape[1:]) for name, value in wrapped.named(example).items()}
    known = {}
    if head := head_in(wrapped):
        known["probabilities"] = head.meaning
    if request.embedding is not None:
        known["embedding"] = f"output of {request.embedding!r} of the network, flattened"
    meaning = meanings(shapes, request.input, known)
    return tuple(
        TensorSpec(name=name, dtype="float32", item_shape=shape, meaning=meaning[name]) for name, shape in shapes.items()
    )
