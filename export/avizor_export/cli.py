"""Define `avizor export`: turn the command line into an ExportRequest, and publish a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from pydantic import JsonValue

from avizor_export.data.fit_constants import fit_on
from avizor_export.data.held_out import read_held_out
from avizor_export.data.metrics_files import read_evaluation, read_training
from avizor_export.exporter import adopt_model, export_model
from avizor_export.front_ends.build import feature_shape
from avizor_export.graph.optional_outputs import OPTIONAL
from avizor_export.networks.factory_arguments import parse_settings
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.labels import read_labels
from avizor_export.networks.ml_operators import labels_of_file
from avizor_export.networks.onnx_adoption import own_input
from avizor_export.networks.onnx_sandbox import check_in_sandbox
from avizor_export.networks.open_network import GivenWeights, LoadedNetwork, open_network
from avizor_export.networks.thresholds import read_thresholds
from avizor_export.precision.int8 import MOST_ITEMS
from avizor_export.progress import show_stages
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
from avizor_export.triton_config.cli_options import chosen_options, serving_options
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.arrays import Items
from avizor_inference.calibration_options import (
    check_channels,
    check_columns,
    check_limit,
    check_sources,
    warn_of_one_window_recordings,
)
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.finite_range import FiniteRange
from avizor_inference.items.data.item_files import read_recordings, sample_items
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.manifest import Activation, Precision, Task
from avizor_inference.repository.models import ModelVersion
from avizor_inference.repository.probe import MOST_ITEMS as PROBE_ITEMS
from avizor_inference.source_options import DataPath, source_options

_path = click.Path(path_type=Path)

_GROUPS = {
    "Output": ("name", "models", "leave_out"),
    "Input": ("task", "input", "labels", "weights", "weights_key", "weights_in_factory", "settings", "free_batch", "fit_on"),
    "What the network returns": ("output", "activation", "thresholds", "embedding"),
    "Proof": ("items", "verify_with", "evaluate_on", "evaluation", "training"),
    "Calibration (reconstruct)": ("calibrate", "source_pattern", "source_column"),
    "Data (of all options that name some)": ("path_column", "bytes_column", "channels", "limit"),
    "Precision": ("int8", "fp16", "max_drop"),
    "Serving (kept from the version before, unless given)": tuple(ServingOptions.__annotations__),
}

_EXAMPLES = """\b
Examples:
  avizor export mynet:net --weights net.pt --name digits --task classify \\
    --input image:height=32,width=32,channels=1 --labels labels.txt --items images/
  avizor export pumps.onnx --name pumps --task reconstruct --calibrate normal/
"""


@click.command(
    cls=GroupedCommand,
    short_help="Export a trained network to a Triton model repository.",
    groups=_GROUPS,
    context_settings={"show_default": True},
    epilog=_EXAMPLES,
)
@click.argument("network")
@click.option("--name", required=True, help="Model name to publish under.")
@click.option("--models", type=_path, default=Path("models"), help="Model repository, created if it does not exist.")
@click.option(
    "--leave-out",
    multiple=True,
    type=click.Choice(OPTIONAL["classify"]),
    help="Optional output to publish without; may be repeated.",
)
@click.option("--task", type=click.Choice(["classify", "reconstruct"]), required=True, help="What the network does.")
@click.option("--input", metavar="DESCRIPTION", help="Raw item: a JSON file, or as image:height=32,width=32,channels=1.")
@click.option("--labels", type=_path, help="Text file with one label a line, in the order of the outputs (classify).")
@click.option("--weights", metavar="FILE", help="State dict, checkpoint, or torchvision:IMAGENET1K_V1[=FILE].")
@click.option("--weights-key", metavar="KEY", help="Set of weights to take from a file with several, such as ema.")
@click.option("--weights-in-factory", is_flag=True, help="Trust the weights that the factory itself loads.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=JSON",
    callback=parse_settings,
    help="Argument of the factory or architecture.",
)
@click.option(
    "--output",
    metavar="NAME",
    help="Which of several outputs to take: a name (.onnx: of a value inside too), or an index, such as 0.",
)
@click.option(
    "--activation",
    type=click.Choice(["softmax", "sigmoid"]),
    show_default="softmax, or sigmoid if the network ends in one",
    help="How probabilities are made: one class is right, or any number of them (multi-label).",
)
@click.option(
    "--thresholds",
    metavar="NUMBER|FILE",
    show_default="0.5",
    help="From which probability on a class counts as present (multi-label).",
)
@click.option("--embedding", metavar="LAYER", help="Layer (.onnx: value or node) whose output is the embedding.")
@click.option("--free-batch", is_flag=True, help="Free the batch of an .onnx file that was written for one batch size.")
@click.option("--fit-on", type=DataPath(), help="Training data from which mean and std are taken, where --input lacks them.")
@click.option("--items", type=DataPath(), help="Real items for parity and --int8, as --data of avizor calibrate.")
@click.option("--verify-with", metavar="triton://HOST:PORT", help="Prove the graph through this live Triton as well.")
@click.option(
    "--evaluate-on",
    type=_path,
    help="Labelled held-out data to measure on: a folder with one for each class (good, ...), a table, or .npz.",
)
@click.option("--evaluation", type=_path, help="JSON file of metrics measured on held-out data, for the manifest.")
@click.option("--training", type=_path, help="JSON file of lists of numbers by epoch, to plot in the model card.")
@click.option("--calibrate", type=DataPath(), help="Normal data not trained on, as --data of avizor calibrate.")
@source_options("the data")
@click.option("--int8", is_flag=True, help="Quantise the network, for CPUs or TensorRT.")
@click.option("--fp16", is_flag=True, help="Convert the network to float16, for GPUs.")
@click.option("--max-drop", type=FiniteRange(0, 1), default=0.01, help="Largest loss of the metric that is accepted.")
@serving_options
@show_stages()
def export(**options: Any) -> None:
    """Export NETWORK to a Triton model repository.

    NETWORK: a torch module's factory (package.module:factory); an architecture (lenet, alexnet, zfnet, googlenet, vgg16,
    resnet34, densenet121); a spec such as "conv32x2 pool conv64x2 pool fc256 fc10"; a .pt2 exported program; or an .onnx file.

    The input's pre-processing becomes part of the graph. The original network and ONNX Runtime are compared on zeros, random
    and real items. A version is published completely or not at all.
    """
    arguments = ExportArguments.of(options)
    arguments.check()
    spec, labels = arguments.read_spec(), arguments.read_labels()
    loaded: LoadedNetwork | None = None
    if arguments.is_onnx:
        item_shape = feature_shape(spec) if spec else ()
        check_in_sandbox(Path(arguments.network), item_shape=item_shape, free_batch=arguments.free_batch)
        spec = spec or own_input(Path(arguments.network))
        labels = labels_of_file(Path(arguments.network), labels, arguments.output) if arguments.task == "classify" else labels
    else:
        with stage("open the network"):
            loaded = arguments.open_network(spec, labels)
        spec, labels = loaded.input, loaded.labels
        if arguments.input is None:
            note_own_input(spec)
    warn_of_front_end(spec)
    request = arguments.to_request(spec, labels, loaded)
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


_WEIGHTS_INSIDE = "an .onnx file has its weights inside"
_NOT_FOR_CLASSIFIERS = "is for autoencoders, whose scores get p-values by it; give real items with --items"


@dataclass(frozen=True)
class ExportArguments:
    """Hold the command line of `avizor export`: a field for each option. serving: the serving options that were given."""

    network: str
    name: str
    models: Path
    task: Task
    input: str | None
    labels: Path | None
    weights: str | None
    weights_key: str | None
    weights_in_factory: bool
    settings: Mapping[str, JsonValue]
    output: str | None
    activation: Activation | None
    thresholds: str | None
    embedding: str | None
    free_batch: bool
    fit_on: Path | None
    items: Path | None
    verify_with: str | None
    evaluate_on: Path | None
    evaluation: Path | None
    training: Path | None
    calibrate: Path | None
    source_pattern: str
    path_column: str
    source_column: str
    bytes_column: str
    channels: ChannelMode
    limit: int | None
    int8: bool
    fp16: bool
    max_drop: float
    leave_out: tuple[str, ...]
    serving: ServingOptions

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ExportArguments:
        """Return the arguments for click's values, which are named as the fields; all others are serving options."""
        names = {field.name for field in fields(cls)}
        serving = chosen_options({name: value for name, value in options.items() if name not in names})
        return cls(**{name: value for name, value in options.items() if name in names}, serving=serving)

    @property
    def precision(self) -> Precision:
        """Return the precision that is asked for."""
        return "int8" if self.int8 else "fp16" if self.fp16 else "fp32"

    @property
    def columns(self) -> Columns:
        """Return the columns that are asked for."""
        return Columns(self.path_column, self.source_column, self.bytes_column)

    def _data(self) -> dict[str, Path]:
        """Return the data that is given, by its option."""
        options = ("calibrate", "items", "fit_on", "evaluate_on")
        return {f"--{name.replace('_', '-')}": path for name in options if (path := getattr(self, name)) is not None}

    @property
    def is_onnx(self) -> bool:
        """Tell whether the network is an ONNX file, which is adopted."""
        return self.network.endswith(".onnx")

    @property
    def given_weights(self) -> GivenWeights:
        """Return the weights that are asked for."""
        return GivenWeights(self.weights, self.weights_key, self.weights_in_factory)

    def check(self) -> None:
        """Raise click.UsageError for options that contradict each other or would have no effect."""
        if self.int8 and self.fp16:
            raise click.UsageError("--int8 and --fp16 are two precisions, and a version has one; give one of them")
        check_sources(self.calibrate, "--calibrate", self.source_pattern, self.columns)
        check_columns(self._data(), self.columns)
        check_limit({option: path for option, path in self._data().items() if option != "--evaluate-on"}, self.limit)
        if self.calibrate is not None and self.evaluate_on is not None:
            _check_separate(self.calibrate, self.evaluate_on)
        if self.task == "classify":
            _refuse(self.calibrate, "--calibrate", _NOT_FOR_CLASSIFIERS)
        else:
            _refuse(self.activation, "--activation", "is how a classifier makes probabilities; leave it out")
            _refuse(self.thresholds, "--thresholds", "are for the probabilities of a classifier; leave them out")
        if self.is_onnx:
            _refuse(self.weights, "--weights", _WEIGHTS_INSIDE)
            _refuse(self.weights_key, "--weights-key", _WEIGHTS_INSIDE)
            _refuse(self.weights_in_factory, "--weights-in-factory", _WEIGHTS_INSIDE)
            _refuse(self.settings, "--set", "an .onnx file is not a factory that takes arguments")
        else:
            _refuse(self.free_batch, "--free-batch", "changes an .onnx file; a torch module is exported with a free batch")
        if self.input is None:
            _refuse(self.fit_on, "--fit-on", "fills in what --input leaves out: give --input too")

    def read_spec(self) -> InputSpec | None:
        """Read --input, with constants from --fit-on; None if it is not given. Raises ExportError if it is not valid."""
        if self.input is None:
            return None
        spec = parse_input(self.input)
        check_channels(self.channels, spec)
        return fit_on(self.fit_on, spec, self.columns, self.channels, self.limit) if self.fit_on else spec

    def read_labels(self) -> Sequence[str] | None:
        """Read --labels; None if it is not given. Raises ExportError if they are not valid."""
        if self.labels is None:
            return None
        labels = read_labels(self.labels)
        check_labels(labels)
        return labels

    def open_network(self, spec: InputSpec | None, labels: Sequence[str] | None) -> LoadedNetwork:
        """Open a network that is not an ONNX file. Raises ExportError if it cannot be opened."""
        return open_network(self.network, self.settings, self.given_weights, spec, labels, self.task)

    def to_request(self, spec: InputSpec, labels: Sequence[str] | None, loaded: LoadedNetwork | None) -> ExportRequest:
        """Read the items and metrics that the options name, and return the request. loaded: None for an .onnx file.

        Raises ExportError for a file that cannot be read or does not fit.
        """
        check_channels(self.channels, spec)
        is_file = self.network.endswith((".pt2", ".onnx"))
        return ExportRequest(
            name=self.name,
            task=self.task,
            input=spec,
            labels=labels,
            real_items=self._real_items(spec),
            normal=(
                read_recordings(
                    *(self.calibrate, spec, SourceRule(self.source_pattern), self.columns),
                    channels=self.channels,
                    first=self.limit,
                )
                if self.calibrate
                else None
            ),
            channels=self.channels,
            evaluation=read_evaluation(self.evaluation) if self.evaluation else {},
            training=read_training(self.training) if self.training else {},
            held_out=(
                read_held_out(self.evaluate_on, spec, labels if self.task == "classify" else None, self.columns, self.channels)
                if self.evaluate_on
                else None
            ),
            precision=self.precision,
            max_drop=self.max_drop,
            output=self.output,
            activation=self.activation,
            thresholds=read_thresholds(self.thresholds) if self.thresholds is not None else None,
            embedding=self.embedding,
            leave_out=self.leave_out,
            verify_with=self.verify_with,
            serving=self.serving,
            factory=Path(self.network).name if is_file else self.network,
            arguments=loaded.arguments if loaded else {},
            weights=Path(self.network) if is_file else self.given_weights.file,
            weights_key=loaded.weights_key if loaded else None,
        )

    def _real_items(self, spec: InputSpec) -> Items | None:
        """Return real items for parity, probe items, and the ranges of int8: those of --items, or else of --calibrate."""
        path = self.items or self.calibrate
        count = MOST_ITEMS if self.precision == "int8" else PROBE_ITEMS
        if path is None:
            return None
        with stage("read real items"):
            return sample_items(path, spec, count, self.columns, self.channels, self.limit)


def _refuse(value: object, option: str, reason: str) -> None:
    """Raise click.BadParameter if the option has a value."""
    if value:
        raise click.BadParameter(reason, param_hint=option)


def _check_separate(calibrate: Path, evaluate_on: Path) -> None:
    """Raise click.BadParameter if --calibrate contains the anomalies of --evaluate-on; warn if it is within that folder."""
    normal, labelled = calibrate.resolve(), evaluate_on.resolve()
    if normal == labelled or normal in labelled.parents:
        _refuse(
            calibrate, "--calibrate", "contains the labelled data of --evaluate-on, anomalies too; give a folder of normal data"
        )
    if labelled in normal.parents:
        warn_of_shared_data()
