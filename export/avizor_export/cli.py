"""`avizor export`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import FiniteFloat, JsonValue, TypeAdapter, ValidationError
from torch import nn

from avizor_export.data.held_out import read_held_out
from avizor_export.data.real_data import recordings, sample
from avizor_export.exporter import adopt_model, export_model
from avizor_export.loading.adopt import own_input
from avizor_export.loading.first_look import first_look
from avizor_export.loading.input_description import parse_input
from avizor_export.loading.trained import load, weights_file
from avizor_export.parity import BATCH_SIZES
from avizor_export.request import ExportRequest
from avizor_export.serving.options import serving_options, settings_from
from avizor_export.variants.int8 import MOST_ITEMS
from avizor_export.variants.variant import remark
from avizor_inference.errors import ExportError
from avizor_inference.manifest import Manifest, Precision, Task
from avizor_inference.repository import ModelVersion
from avizor_inference.sources import SourceRule
from avizor_inference.strict import describe

_path = click.Path(path_type=Path)


@click.command()
@click.argument("source")
@click.option("--name", required=True, help="Name to publish under.")
@click.option("--models", type=_path, default=Path("models"), show_default=True, help="Model repository; made if absent.")
@click.option("--task", type=click.Choice(["classify", "reconstruct"]), required=True)
@click.option("--input", "input_text", help="JSON file, or e.g. image:height=32,width=32,channels=1,mean=0.5")
@click.option("--weights", help="State dict saved with torch.save; or torchvision:IMAGENET1K_V1, with =FILE if it is there.")
@click.option("--set", "settings", multiple=True, metavar="KEY=JSON", help="Keyword argument of the factory, e.g. classes=10.")
@click.option("--output", help="Of an .onnx file with several: the logits, probabilities or reconstruction.")
@click.option("--verify-with", metavar="triton://HOST:PORT", help="Prove the graph through a live Triton as well.")
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
    "--evaluate-on", type=_path, help="Labelled held-out data: a folder with one for each class, .csv, .parquet or .npz."
)
@click.option("--int8", "precision", flag_value="int8", help="Quantise the network; refused if it loses over --max-drop.")
@click.option(
    "--fp16", "precision", flag_value="fp16", help="Network in float16, for GPUs; refused if it loses over --max-drop."
)
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Of accuracy or ROC AUC.")
@serving_options
def export(
    source: str,
    name: str,
    models: Path,
    task: Task,
    input_text: str | None,
    weights: str | None,
    settings: tuple[str, ...],
    output: str | None,
    verify_with: str | None,
    labels: Path | None,
    items: Path | None,
    calibrate: Path | None,
    source_pattern: str,
    source_column: str,
    evaluation: Path | None,
    training: Path | None,
    evaluate_on: Path | None,
    precision: Precision | None,
    max_drop: float,
    **serving: Any,
) -> None:
    """Export SOURCE to a Triton model repository.

    SOURCE: a torch module's factory (package.module:factory); an architecture (lenet, alexnet, zfnet, googlenet, vgg16,
    resnet34, densenet121); a spec such as "conv32x2 pool conv64x2 pool fc256 fc10"; a .pt2 exported program; or an .onnx file.

    The input's pre-processing goes into the graph; the reference and ONNX Runtime are compared on zeros, random and real items;
    the version is published whole or not at all.
    """
    names: Sequence[str] | None = _read(labels).splitlines() if labels else None
    arguments = dict(_setting(text) for text in settings)
    spec = parse_input(input_text) if input_text else None
    network: nn.Module | None = None
    if source.endswith(".onnx"):
        _refuse(weights, "--weights", "an .onnx file has its weights inside")
        first_look(Path(source))
        spec = spec or own_input(Path(source))
    else:
        loaded = load(source, arguments, weights, spec, names)
        network, spec, names = loaded.network, loaded.input, loaded.labels
    rule, real = SourceRule(source_pattern), items or calibrate
    request = ExportRequest(
        name=name,
        task=task,
        input=spec,
        labels=names,
        real_items=sample(real, spec, MOST_ITEMS if precision == "int8" else max(BATCH_SIZES)) if real else None,
        normal=recordings(calibrate, spec, rule, source_column) if calibrate else None,
        evaluation=_evaluation(evaluation),
        training=_training(training),
        held_out=read_held_out(evaluate_on, spec, names if task == "classify" else None) if evaluate_on else None,
        precision=precision or "fp32",
        max_drop=max_drop,
        verify_with=verify_with,
        serving=settings_from(serving, models, name),
        factory=source,
        weights=weights_file(weights),
    )
    if real is None:
        click.echo("Note: no real items were given (--items): parity is checked on zeros and random items only.", err=True)
    if network is None:
        describe_export(adopt_model(Path(source), request, models, output))
    else:
        describe_export(export_model(network, request, models))


def describe_export(version: ModelVersion) -> None:
    """Print what was published and how it was proven."""
    manifest, calibration = version.manifest, version.calibration()
    click.echo(
        f"published {version.folder}: {manifest.task}, {manifest.model_bytes / 1e6:.2f} MB, sha256 {manifest.model_sha256[:12]}"
    )
    reference = manifest.parity.compared_with
    for name, output in manifest.parity.outputs.items():
        click.echo(
            f"  parity  {name}: {reference} and ONNX Runtime differ by at most {output.largest_absolute:.1e} ({output.sample})"
        )
    if manifest.parity.server:
        worst = max(output.largest_absolute for output in manifest.parity.server.outputs.values())
        click.echo(f"  parity  through {manifest.parity.server.address}: by at most {worst:.1e}")
    _describe_variant(manifest)
    if calibration:
        sources = ", ".join(f"{source} {len(scores)}" for source, scores in calibration.sources.items())
        click.echo(f"  calibration {calibration.id}: {calibration.recordings()} normal recordings ({sources})")
    elif manifest.task == "reconstruct":
        click.echo("  no calibration: scores without p-values; give normal recordings with --calibrate")


def _describe_variant(manifest: Manifest) -> None:
    variant = manifest.variant
    if not manifest.simplified and manifest.parity.compared_with.startswith("torch"):
        click.echo("Note: the exporter's optimiser changed what the graph gives; it was exported without.", err=True)
    if variant is None:
        return
    click.echo(
        f"  {manifest.precision}: {variant.metric} {variant.before:.4f} to {variant.after:.4f} on {variant.items} held-out "
        f"items, {variant.fp32_bytes / 1e6:.2f} to {manifest.model_bytes / 1e6:.2f} MB"
    )
    for speed in variant.speed:
        click.echo(
            f"  {manifest.precision}: {speed.ratio:.2f} times fp32's rows/s at batch {speed.batch_size}, one thread "
            f"({speed.lowest_ratio:.2f} to {speed.highest_ratio:.2f})"
        )
    if said := remark(manifest):
        click.echo(f"{'Note' if manifest.precision == 'fp16' else 'Warning'}: {said}.", err=True)


def _refuse(value: str | None, option: str, why: str) -> None:
    if value:
        raise click.BadParameter(why, param_hint=option)


def _setting(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KEY=JSON", param_hint="--set")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _evaluation(path: Path | None) -> dict[str, JsonValue]:
    if path is None:
        return {}
    try:
        figures = json.loads(_read(path))
    except ValueError as error:
        raise ExportError(f"{path} is not JSON: {error}") from error
    if not isinstance(figures, dict):
        raise ExportError(f"{path} has to hold a JSON object of figures")
    return figures


def _training(path: Path | None) -> dict[str, list[float]]:
    if path is None:
        return {}
    try:
        return TypeAdapter(dict[str, list[FiniteFloat]]).validate_json(_read(path))
    except ValidationError as error:
        raise ExportError(
            f"{path} has to hold a JSON object of lists of numbers, one for each epoch: {describe(error)}"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: cannot be read ({error})") from error
