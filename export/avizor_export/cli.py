"""`avizor export`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import JsonValue

from avizor_export.data.fit_constants import fit_on as fitted_spec
from avizor_export.data.held_out import read_held_out
from avizor_export.data.item_files import read_recordings, sample_items
from avizor_export.data.metrics_files import read_evaluation, read_training
from avizor_export.data.table_data import is_table
from avizor_export.exporter import adopt_model, export_model
from avizor_export.front_ends.warnings import front_end_warnings as front_end_remarks
from avizor_export.graph.optional_outputs import OPTIONAL
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.labels import read_labels
from avizor_export.networks.onnx_adoption import own_input
from avizor_export.networks.onnx_sandbox import first_look
from avizor_export.networks.open import GivenWeights, LoadedNetwork, open_network
from avizor_export.parity.probe_items import BATCH_SIZES
from avizor_export.precision.int8 import MOST_ITEMS
from avizor_export.report import describe_export, note_missing_taps, warn_of_chance
from avizor_export.request import ExportRequest, check_labels
from avizor_export.triton_config.cli_options import given, serving_options
from avizor_inference.items.inputs import AudioInput, InputSpec
from avizor_inference.items.sources import SourceRule
from avizor_inference.repository.manifest import Precision, Task

_path = click.Path(path_type=Path)


@click.command()
@click.argument("source")
@click.option("--name", required=True, help="Name to publish under.")
@click.option("--models", type=_path, default=Path("models"), show_default=True, help="Model repository; made if absent.")
@click.option("--task", type=click.Choice(["classify", "reconstruct"]), required=True)
@click.option("--input", "input_text", help="JSON file, or e.g. image:height=32,width=32,channels=1,mean=0.5")
@click.option("--weights", help="State dict or checkpoint; or torchvision:IMAGENET1K_V1, with =FILE if it is there.")
@click.option("--weights-key", help="Which of several sets of weights in the file, e.g. ema or state_dict.ema_model.")
@click.option("--weights-in-factory", is_flag=True, help="The factory loads the trained weights itself.")
@click.option("--set", "settings", multiple=True, metavar="KEY=JSON", help="Argument of the factory or architecture.")
@click.option("--output", help="Of an .onnx file with several: the logits, probabilities or reconstruction.")
@click.option("--verify-with", metavar="triton://HOST:PORT", help="Prove the graph through a live Triton as well.")
@click.option(
    "--fit-on", type=_path, help="Training data: takes mean and std of the input from it, where --input does not give them."
)
@click.option("--labels", type=_path, help="One label a line, in the order of the outputs (classifiers).")
@click.option(
    "--items", type=_path, help="Real items for parity and for the ranges of --int8: a folder, .csv, .parquet or .npy."
)
@click.option("--calibrate", type=_path, help="Normal data not trained on (autoencoders): a folder, .csv, .parquet or .npy.")
@click.option("--source-pattern", default="", help="Regular expression; its first group in a file's path is the source.")
@click.option("--source-column", default="", help="Column of --calibrate's table that names each row's source.")
@click.option("--evaluation", type=_path, help="JSON file of figures measured on held-out data, for the manifest.")
@click.option("--training", type=_path, help="JSON file of lists of figures by epoch, to be plotted in the model card.")
@click.option(
    "--evaluate-on", type=_path, help="Labelled held-out data: a folder with one for each class (good, ...), a table, or .npz."
)
@click.option("--int8", is_flag=True, help="Quantise the network, for CPUs or TensorRT; refused if it loses over --max-drop.")
@click.option("--fp16", is_flag=True, help="Network in float16, for GPUs; refused if it loses over --max-drop.")
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Of accuracy or ROC AUC.")
@click.option(
    "--leave-out",
    multiple=True,
    type=click.Choice(OPTIONAL["classify"]),
    help="Output that the version is to be without; may be given twice.",
)
@serving_options
def export(
    source: str,
    name: str,
    models: Path,
    task: Task,
    input_text: str | None,
    weights: str | None,
    weights_key: str | None,
    weights_in_factory: bool,
    settings: tuple[str, ...],
    output: str | None,
    verify_with: str | None,
    fit_on: Path | None,
    labels: Path | None,
    items: Path | None,
    calibrate: Path | None,
    source_pattern: str,
    source_column: str,
    evaluation: Path | None,
    training: Path | None,
    evaluate_on: Path | None,
    int8: bool,
    fp16: bool,
    max_drop: float,
    leave_out: tuple[str, ...],
    **serving: Any,
) -> None:
    """Export SOURCE to a Triton model repository.

    SOURCE: a torch module's factory (package.module:factory); an architecture (lenet, alexnet, zfnet, googlenet, vgg16,
    resnet34, densenet121); a spec such as "conv32x2 pool conv64x2 pool fc256 fc10"; a .pt2 exported program; or an .onnx file.

    The input's pre-processing goes into the graph; the reference and ONNX Runtime are compared on zeros, random and real items;
    the version is published whole or not at all.
    """
    precision = _precision(int8, fp16)
    _check_sources(calibrate, source_pattern, source_column)
    _check_apart(calibrate, evaluate_on)
    names: Sequence[str] | None = read_labels(labels) if labels else None
    if names is not None:
        check_labels(names)
    arguments = dict(_setting(text) for text in settings)
    spec = _input(input_text, fit_on) if input_text or fit_on else None
    trained: LoadedNetwork | None = None
    given_weights = GivenWeights(weights, weights_key, weights_in_factory)
    is_file = source.endswith((".pt2", ".onnx"))
    if task == "classify":
        _refuse(calibrate, "--calibrate", "is for autoencoders: it gives scores their p-values; real items come by --items")
    if source.endswith(".onnx"):
        _refuse(weights, "--weights", "an .onnx file has its weights inside")
        _refuse(weights_key, "--weights-key", "an .onnx file has its weights inside")
        _refuse(weights_in_factory, "--weights-in-factory", "an .onnx file has its weights inside")
        _refuse(settings, "--set", "an .onnx file is no factory that takes arguments")
        first_look(Path(source))
        spec = spec or own_input(Path(source))
    else:
        _refuse(output, "--output", "chooses among the outputs of an .onnx file; a torch module returns one tensor")
        trained = open_network(source, arguments, given_weights, spec, names, task)
        spec, names = trained.input, trained.labels
    for said in front_end_remarks(spec):
        click.echo(f"Warning: {said}.", err=True)
    rule, real = SourceRule(source_pattern), items or calibrate
    request = ExportRequest(
        name=name,
        task=task,
        input=spec,
        labels=names,
        real_items=sample_items(real, spec, MOST_ITEMS if precision == "int8" else max(BATCH_SIZES)) if real else None,
        normal=read_recordings(calibrate, spec, rule, source_column) if calibrate else None,
        evaluation=read_evaluation(evaluation) if evaluation else {},
        training=read_training(training) if training else {},
        held_out=read_held_out(evaluate_on, spec, names if task == "classify" else None) if evaluate_on else None,
        precision=precision,
        max_drop=max_drop,
        leave_out=leave_out,
        verify_with=verify_with,
        serving=given(serving),
        factory=Path(source).name if is_file else source,
        arguments=trained.arguments if trained else {},
        weights=Path(source) if is_file else given_weights.file,
        weights_key=trained.weights_key if trained else None,
    )
    if calibrate and calibrate.suffix == ".npy" and isinstance(spec, AudioInput):
        click.echo(
            "Warning: each item of a .npy file counts as a recording of one window; calibrate with a folder of sound files to "
            "judge longer recordings.",
            err=True,
        )
    if real is None:
        click.echo("Note: no real items were given (--items): parity is checked on zeros and random items only.", err=True)
    if trained is not None:
        version = export_model(trained.network, request, models)
    else:
        version = adopt_model(Path(source), request, models, output)
    describe_export(version)
    note_missing_taps(version.manifest, source, leave_out)
    if request.held_out is not None:
        warn_of_chance(version.manifest, request.held_out)


def _precision(int8: bool, fp16: bool) -> Precision:
    if int8 and fp16:
        raise click.UsageError("--int8 and --fp16 are two precisions, and a version has one; give one of them")
    return "int8" if int8 else "fp16" if fp16 else "fp32"


def _refuse(value: object, option: str, why: str) -> None:
    if value:
        raise click.BadParameter(why, param_hint=option)


def _check_apart(calibrate: Path | None, evaluate_on: Path | None) -> None:
    """Refuse to calibrate on data that holds anomalies."""
    if calibrate is None or evaluate_on is None:
        return
    normal, labelled = calibrate.resolve(), evaluate_on.resolve()
    if normal == labelled or normal in labelled.parents:
        _refuse(
            calibrate, "--calibrate", "holds the labelled data of --evaluate-on, anomalies too; give a folder of normal data"
        )
    if labelled in normal.parents:
        click.echo(
            "Warning: --calibrate lies within --evaluate-on: the figure is measured on data that the model is calibrated with.",
            err=True,
        )


def _check_sources(calibrate: Path | None, pattern: str, column: str) -> None:
    """Refuse what would tell the sources of nothing."""
    if calibrate is None:
        _refuse(pattern, "--source-pattern", "tells the sources of --calibrate's files, which is not given")
        _refuse(column, "--source-column", "tells the sources of --calibrate's rows, which is not given")
        return
    if not is_table(calibrate):
        _refuse(column, "--source-column", "names a column of a table; give a .csv or .parquet file to --calibrate")
    if calibrate.is_file():
        _refuse(pattern, "--source-pattern", "is searched in the paths of a folder's files, and --calibrate is one file")


def _input(text: str | None, training_data: Path | None) -> InputSpec:
    if text is None:
        raise click.BadParameter("fills in what --input leaves out: give --input too", param_hint="--fit-on")
    spec = parse_input(text)
    return fitted_spec(training_data, spec) if training_data else spec


def _setting(text: str) -> tuple[str, JsonValue]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KEY=JSON; write {text}=VALUE", param_hint="--set")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
