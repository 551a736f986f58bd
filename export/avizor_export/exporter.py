"""Export: from a trained torch module to a published version of a model repository, proven equal on the way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from torch import nn

from avizor_export.description.layers import parameters_of
from avizor_export.graph.logits import refuse_squashed
from avizor_export.graph.to_onnx import Simplifier, optimise, to_onnx
from avizor_export.graph.wrapped import WrappedNetwork, meanings, wrap
from avizor_export.live_triton.address import parse_address
from avizor_export.live_triton.verify import on_server
from avizor_export.networks.onnx_adoption import adopt, features_name, outputs_of
from avizor_export.networks.onnx_sandbox import check_in_sandbox
from avizor_export.parity.compare import compare_runs, onnxruntime_run, torch_run
from avizor_export.parity.constant_outputs import why_same
from avizor_export.parity.probe_items import random_items
from avizor_export.parity.references import Reference, reference_of
from avizor_export.parity.rounding import perturbed_graph, perturbed_torch
from avizor_export.parity.soundness import Run
from avizor_export.precision.guard import Guard, complaint, make_version
from avizor_export.precision.quality import METRIC_OF, measure_quality
from avizor_export.publication.files import (
    ProvenGraph,
    calibrate_version,
    manifest_of,
    provenance_of,
    refuse_other_tensors,
    write_files,
)
from avizor_export.publication.model_card import write_card
from avizor_export.publication.publish import publish, staging
from avizor_export.request import ExportRequest, check_data, settled
from avizor_export.triton_config.text import config_text
from avizor_inference.checks.check import check_model
from avizor_inference.errors import ExportError, ParityError
from avizor_inference.items.inputs import InputSpec, TensorSpec
from avizor_inference.repository.manifest import MODEL_FILE, Precision
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.reports import ParityReport, ServerParity, ServerQuality
from avizor_inference.repository.triton_config import CONFIG_FILE

_log = logging.getLogger(__name__)

# From here on a user wonders whether anything happens at all.
_MANY_PARAMETERS = 1_000_000


def export_model(
    network: nn.Module, request: ExportRequest, models: Path, simplify: Simplifier | None = optimise
) -> ModelVersion:
    """Export, prove, calibrate and publish a torch module. Raises ExportError; then nothing is published.

    simplify: what goes over the exported graph; a graph that it breaks is exported once more without it.
    """
    request = settled(request, models)
    example = torch.from_numpy(random_items(request.input, 2, real=request.real_items))
    with wrap(network, request.input, request.task, example, request.leave_out) as served:
        outputs = _outputs(served, example, request.input)
        check_data(request, outputs)
        proto, report, simplified = _proven(request, served, example, outputs, simplify)
    factory = request.factory or f"{type(network).__module__}:{type(network).__qualname__}"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    made = ProvenGraph(
        proto, proto, outputs, report, provenance_of(request, factory, parameters), request.evaluation, simplified
    )
    return _publish(_measured(made, request), request, models)


def adopt_model(path: Path, request: ExportRequest, models: Path, output: str | None = None) -> ModelVersion:
    """Adopt, prove, calibrate and publish an ONNX file. Raises ExportError; then nothing is published.

    The input description is that of the raw items; a TensorInput has to be the graph's own tensor. output: see adopt.adopt.
    """
    request = settled(request, models)
    check_in_sandbox(path)
    spec, proto = adopt(path, request.input, request.task, output, request.real_items, request.leave_out)
    request = replace(request, input=spec, weights=path)
    outputs = outputs_of(proto, spec)
    check_data(request, outputs)
    example, parameters = random_items(spec, 2, real=request.real_items), parameters_of(proto)
    if parameters > _MANY_PARAMETERS:
        _log.warning("the reference evaluator of onnx takes a minute or so for 11 million weights; here are %d", parameters)
    reference = reference_of(proto, example)
    if reference.note:
        _log.warning("%s", reference.note)
    perturbed = replace(
        reference, perturbed=lambda by: reference_of(perturbed_graph(proto, features_name(spec), by), example).run
    )
    report = _prove(request, proto, outputs, perturbed)
    provenance = provenance_of(request, path.name, parameters)
    made = ProvenGraph(proto, proto, outputs, report, provenance, request.evaluation, simplified=False)
    return _publish(_measured(made, request), request, models)


def _proven(
    request: ExportRequest,
    served: WrappedNetwork,
    example: torch.Tensor,
    outputs: Sequence[TensorSpec],
    simplify: Simplifier | None,
) -> tuple[onnx.ModelProto, ParityReport, bool]:
    """The graph, how it was proven, and whether it was simplified: only if it gives the same as before."""
    name = f"torch {torch.__version__.partition('+')[0]}"
    reference = Reference(torch_run(served), name, perturbed=perturbed_torch(served))
    tensor = request.input.tensor().name
    proto = to_onnx(served, tensor, example, simplify)
    try:
        return proto, _prove(request, proto, outputs, reference), simplify is not None
    except ParityError:
        if simplify is None:
            raise
    proto = to_onnx(served, tensor, example, None)
    try:
        return proto, _prove(request, proto, outputs, reference), False
    except ParityError as error:
        raise ParityError(f"with the exporter's optimiser and without it, {error}") from error


def _measured(made: ProvenGraph, request: ExportRequest) -> ProvenGraph:
    """In the precision that was asked for, with its figure on held-out items. Raises ExportError if it loses too much."""
    held_out, task = request.held_out, request.task
    if request.precision != "fp32":
        made = _in_precision(made, request)
    if held_out is None:
        return made
    reached = made.variant.after if made.variant else measure_quality(onnxruntime_run(made.proto), task, held_out)
    figures = {METRIC_OF[task]: reached, "held_out_items": len(held_out.items)}
    return replace(made, evaluation={**made.evaluation, **figures})


def _in_precision(made: ProvenGraph, request: ExportRequest) -> ProvenGraph:
    held_out, precision = request.held_out, request.precision
    assert held_out is not None  # check_variant_data saw it
    guard = Guard(request.task, held_out, request.max_drop)
    proto, report = make_version(made.fp32, precision, request.real_items, guard, request.settings.target)
    if request.verify_with is not None:
        with _through_server(request, proto, made.outputs, precision) as run:
            reached = measure_quality(run, request.task, held_out, batch_size=min(32, request.settings.max_batch_size))
        report = report.model_copy(update={"server": ServerQuality(address=request.verify_with, after=reached)})
        if not report.passed:
            raise ExportError(f"through {request.verify_with}, {complaint(precision, report, reached)}")
    return replace(made, proto=proto, variant=report)


def _prove(request: ExportRequest, proto: onnx.ModelProto, outputs: Sequence[TensorSpec], reference: Reference) -> ParityReport:
    refuse_squashed(proto)

    def compare(found: Run) -> ParityReport:
        return compare_runs(reference.run, found, request.input, request.real_items, reference.name, reference.perturbed)

    report = compare(onnxruntime_run(proto))
    if "zeros" not in report.samples:
        _log.warning(
            "zeros are left out of the proof: they make maps that are constant, and a norm over such a map gives rounding, "
            "of %s too",
            reference.name,
        )
    if report.same_for_all:
        _log.warning("%s", why_same(report.same_for_all, "real" in report.samples))
    if request.verify_with is None:
        return report
    with _through_server(request, proto, outputs, "fp32") as run:
        through = compare(run)
    server = ServerParity(
        address=request.verify_with,
        batch_sizes=tuple(sorted({min(size, request.settings.max_batch_size) for size in through.batch_sizes})),
        outputs=through.outputs,
        top1_agreement=through.top1_agreement,
        rank_correlation=through.rank_correlation,
    )
    return report.model_copy(update={"server": server})


def _through_server(
    request: ExportRequest, proto: onnx.ModelProto, outputs: Sequence[TensorSpec], precision: Precision
) -> AbstractContextManager[Run]:
    tensor = request.input.tensor()
    config = config_text(request.name, [tensor], outputs, request.settings, labels=False, digests={}, precision=precision)
    return on_server(parse_address(request.verify_with or ""), proto, config, tensor)


def _publish(made: ProvenGraph, request: ExportRequest, models: Path) -> ModelVersion:
    with staging(models, request.name) as stage:
        onnx.save(made.proto, stage.version_folder / MODEL_FILE)
        manifest = manifest_of(request, stage, made)
        notes = write_files(stage, manifest, request, models)
        refuse_other_tensors(models, manifest)
        if request.task == "reconstruct" and request.normal is not None:
            calibrate_version(stage, request.normal, request.precision)
        problems = check_model(ModelRepository(stage.root), request.name)
        if problems:
            path = models / request.name / CONFIG_FILE
            edited = path.is_file() and any(CONFIG_FILE in problem for problem in problems)
            mend = f". Edits of {path} are kept: mend it, or delete it and give the options again" if edited else ""
            raise ExportError(f"the version that was made does not pass its own check: {'; '.join(problems)}{mend}")
        write_card(ModelVersion(request.name, manifest.version, stage.version_folder), made.fp32, request.training)
        folder = publish(stage, models)
    for note in notes:
        _log.warning("%s", note)
    return ModelVersion(request.name, manifest.version, folder)


def _outputs(served: WrappedNetwork, example: torch.Tensor, spec: InputSpec) -> tuple[TensorSpec, ...]:
    with torch.inference_mode():
        shapes = {name: tuple(value.shape[1:]) for name, value in served.named(example).items()}
    meaning = meanings(shapes, spec)
    return tuple(
        TensorSpec(name=name, dtype="float32", item_shape=shape, meaning=meaning[name]) for name, shape in shapes.items()
    )
