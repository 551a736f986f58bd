"""Do what `avizor export` asks for: open the network, read the data, and publish a version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from avizor_export.data.fit_constants import fit_on
from avizor_export.data.held_out import read_held_out
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.data.metrics_files import read_evaluation, read_training
from avizor_export.export_arguments import ExportArguments
from avizor_export.exporter import adopt_model, export_model
from avizor_export.front_ends.build import feature_shape
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.labels import read_labels
from avizor_export.networks.ml_operators import labels_of_file
from avizor_export.networks.onnx_adoption import own_input
from avizor_export.networks.onnx_sandbox import check_in_sandbox
from avizor_export.networks.open_network import GivenWeights, LoadedNetwork, open_network
from avizor_export.networks.thresholds import read_thresholds
from avizor_export.precision.int8 import MOST_ITEMS
from avizor_export.report import (
    describe_export,
    note_missing_real_items,
    note_missing_taps,
    note_own_input,
    warn_of_chance,
    warn_of_front_end,
    warn_of_shared_data,
)
from avizor_export.request import ExportRequest, check_labels
from avizor_export.stages import stage
from avizor_inference.arrays import Items
from avizor_inference.calibration_options import check_channels, warn_of_one_window_recordings
from avizor_inference.items.data.item_files import read_recordings, sample_items
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelVersion
from avizor_inference.repository.probe import MOST_ITEMS as PROBE_ITEMS


def run(arguments: ExportArguments) -> None:
    """Publish a version, and print what came out. Raises ExportError, and what a file of a user's data raises."""
    if arguments.shares_data:
        warn_of_shared_data()
    spec, labels = _spec(arguments), _labels(arguments)
    loaded: LoadedNetwork | None = None
    if arguments.is_onnx:
        item_shape = feature_shape(spec) if spec else ()
        check_in_sandbox(Path(arguments.network), item_shape=item_shape, free_batch=arguments.free_batch)
        spec = spec or own_input(Path(arguments.network))
        labels = labels_of_file(Path(arguments.network), labels, arguments.output) if arguments.task == "classify" else labels
    else:
        with stage("open the network"):
            loaded = open_network(arguments.network, arguments.settings, _weights(arguments), spec, labels, arguments.task)
        spec, labels = loaded.input, loaded.labels
        if arguments.input is None:
            note_own_input(spec)
    warn_of_front_end(spec)
    request = _request(arguments, spec, labels, loaded)
    if arguments.calibrate:
        warn_of_one_window_recordings(arguments.calibrate, spec)
    if request.real_items is None:
        note_missing_real_items()
    version = _publish(arguments, request, loaded)
    describe_export(version)
    note_missing_taps(version.manifest, arguments.network, arguments.leave_out)
    if request.held_out is not None:
        warn_of_chance(version.manifest, request.held_out)


def _publish(arguments: ExportArguments, request: ExportRequest, loaded: LoadedNetwork | None) -> ModelVersion:
    if loaded is None:
        return adopt_model(Path(arguments.network), request, arguments.models, free_batch=arguments.free_batch)
    return export_model(loaded.network, request, arguments.models)


def _spec(arguments: ExportArguments) -> InputSpec | None:
    """Read --input, with constants from --fit-on; None if it is not given. Raises ExportError if it is not valid."""
    if arguments.input is None:
        return None
    spec = parse_input(arguments.input)
    check_channels(arguments.channels, spec)
    if arguments.fit_on is None:
        return spec
    return fit_on(arguments.fit_on, spec, arguments.columns, arguments.channels, arguments.limit)


def _labels(arguments: ExportArguments) -> Sequence[str] | None:
    """Read --labels; None if it is not given. Raises ExportError if they are not valid."""
    if arguments.labels is None:
        return None
    labels = read_labels(arguments.labels)
    check_labels(labels)
    return labels


def _weights(arguments: ExportArguments) -> GivenWeights:
    return GivenWeights(arguments.weights, arguments.weights_key, arguments.weights_in_factory)


def _request(
    arguments: ExportArguments, spec: InputSpec, labels: Sequence[str] | None, loaded: LoadedNetwork | None
) -> ExportRequest:
    """Read the items and metrics that the options name, and return the request. loaded: None for an .onnx file.

    Raises ExportError for a file that cannot be read or does not fit.
    """
    check_channels(arguments.channels, spec)
    is_file = arguments.network.endswith((".pt2", ".onnx"))
    return ExportRequest(
        name=arguments.name,
        task=arguments.task,
        input=spec,
        labels=labels,
        real_items=_real_items(arguments, spec),
        normal=_normal(arguments, spec),
        channels=arguments.channels,
        evaluation=read_evaluation(arguments.evaluation) if arguments.evaluation else {},
        training=read_training(arguments.training) if arguments.training else {},
        held_out=_held_out(arguments, spec, labels),
        precision=arguments.precision,
        max_drop=arguments.max_drop,
        output=arguments.output,
        activation=arguments.activation,
        thresholds=read_thresholds(arguments.thresholds) if arguments.thresholds is not None else None,
        embedding=arguments.embedding,
        leave_out=arguments.leave_out,
        verify_with=arguments.verify_with,
        serving=arguments.serving,
        factory=Path(arguments.network).name if is_file else arguments.network,
        arguments=loaded.arguments if loaded else {},
        weights=Path(arguments.network) if is_file else _weights(arguments).file,
        weights_key=loaded.weights_key if loaded else None,
    )


def _real_items(arguments: ExportArguments, spec: InputSpec) -> Items | None:
    """Return real items for parity, probe items, and the ranges of int8: those of --items, or else of --calibrate."""
    path = arguments.items or arguments.calibrate
    count = MOST_ITEMS if arguments.precision == "int8" else PROBE_ITEMS
    if path is None:
        return None
    with stage("read real items"):
        return sample_items(path, spec, count, arguments.columns, arguments.channels, arguments.limit)


def _normal(arguments: ExportArguments, spec: InputSpec) -> Iterable[NormalRecording] | None:
    """Read the recordings of --calibrate, one after the other."""
    if arguments.calibrate is None:
        return None
    rule, columns = SourceRule(arguments.source_pattern), arguments.columns
    return read_recordings(arguments.calibrate, spec, rule, columns, channels=arguments.channels, first=arguments.limit)


def _held_out(arguments: ExportArguments, spec: InputSpec, labels: Sequence[str] | None) -> LabelledItems | None:
    """Read the labelled items of --evaluate-on."""
    if arguments.evaluate_on is None:
        return None
    classes = labels if arguments.task == "classify" else None
    return read_held_out(arguments.evaluate_on, spec, classes, arguments.columns, arguments.channels)
