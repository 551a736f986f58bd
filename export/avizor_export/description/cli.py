"""`avizor describe`: an architecture, a spec, a model or a file, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.architectures.grammar import GRAMMAR, is_spec, parse_spec, reconstructs
from avizor_export.architectures.torchvision_networks import LAYOUTS
from avizor_export.description.design_rules import warnings_for
from avizor_export.description.layer import Layer
from avizor_export.description.table import layer_table, unexplained_parameters
from avizor_export.description.targets import layers_of_design, layers_of_file, layers_of_program
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import NAME_PATTERN
from avizor_inference.repository.models import ModelRepository


@click.command(epilog="\b\n" + GRAMMAR.replace("\n\n", "\n\n\b\n"))
@click.argument("target")
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="Model repository.")
@click.option("--classes", type=click.IntRange(min=1), help="Default: as published, or as the spec says.")
@click.option("--channels", type=click.IntRange(min=1), help="Default: as published; 3 for a spec.")
@click.option("--size", type=click.IntRange(min=1), help="Pixels of height and width. Default: as published; 32 for a spec.")
@click.option("--height", type=click.IntRange(min=1), help="In place of --size.")
@click.option("--width", type=click.IntRange(min=1), help="In place of --size.")
@click.option("--columns", type=click.IntRange(min=1), help="Numbers of a table row, for a spec that begins with fc.")
@click.option("--batch-norm", is_flag=True, help="The variant with batch norm (alexnet, zfnet, vgg16).")
@click.option("--layout", type=click.Choice(LAYOUTS), help="Of an architecture of torchvision's. Default: adapted.")
def describe(
    target: str,
    models: Path,
    classes: int | None,
    channels: int | None,
    size: int | None,
    height: int | None,
    width: int | None,
    columns: int | None,
    batch_norm: bool,
    layout: str | None,
) -> None:
    """Print TARGET layer by layer: output, receptive field, parameters, multiply-adds and their share.

    TARGET: the name of a published model, an architecture (lenet, alexnet, zfnet, googlenet, vgg16, resnet34, densenet121), an
    .onnx or .pt2 file, or a spec such as "conv32x2 pool conv64x2 pool fc256 fc10" (classifier), "conv16s2bn conv32s2bn
    latent24" (autoencoder) or "conv64k5 conv32 shuffle2" (super-resolution). A published model comes before an architecture of
    the same name. Warns where a design breaks the rules of thumb, and says why.
    """
    sizes = {"--channels": channels, "--size": size, "--height": height, "--width": width}
    options: dict[str, object] = {
        "--classes": classes,
        **sizes,
        "--columns": columns,
        "--batch-norm": batch_norm or None,
        "--layout": layout,
    }
    is_design = target in ARCHITECTURES or is_spec(target)
    if target.endswith((".onnx", ".pt2")):
        _refuse(options, "a file has its sizes inside")
        print_layers(layers_of_file(Path(target)) if target.endswith(".onnx") else layers_of_program(Path(target)))
    elif _is_published(models, target) or not is_design:
        _refuse(options, f"{target!r} is a published model, and has its sizes inside")
        _describe_published(models, target, is_design)
    else:
        if columns:
            _refuse(sizes, "--columns describes a row of numbers, which has no height, width or channels")
        if reconstructs(target):
            _refuse({"--classes": classes, "--batch-norm": batch_norm or None}, "the spec of an autoencoder has neither")
        if "layout" not in (ARCHITECTURES[target].choices if target in ARCHITECTURES else {}):
            _refuse({"--layout": layout}, f"{target!r} has one layout")
        known = ARCHITECTURES.get(target)
        default = known.shape if known else (3, 32, 32)
        shape: tuple[int, ...] = (channels or default[0], height or size or default[1], width or size or default[2])
        if columns:
            shape = (columns,)
        settings = {"layout": layout} if layout else {}
        layers, total = layers_of_design(target, classes or _classes(target), shape, batch_norm, **settings)
        click.echo(f"{target}: input {'x'.join(map(str, shape))}")
        print_layers(layers, total)


def print_layers(layers: Sequence[Layer], total: int | None = None) -> None:
    """The table and the warnings."""
    rows = layer_table(layers, total)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
    if why := unexplained_parameters(layers, total):
        click.echo(why)
    for warning in warnings_for(layers):
        click.echo(f"warning: {warning}")


def _refuse(options: Mapping[str, object], why: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise click.BadParameter(why, param_hint=option)


def _classes(target: str) -> int:
    if reconstructs(target):
        return 0
    if target in ARCHITECTURES:
        return ARCHITECTURES[target].classes
    try:
        return parse_spec(target)[-1].size(10)
    except ValueError as error:
        raise ExportError(str(error)) from error


def _is_published(models: Path, name: str) -> bool:
    return re.fullmatch(NAME_PATTERN, name) is not None and (models / name).is_dir()


def _describe_published(models: Path, name: str, is_design: bool) -> None:
    if not models.is_dir():
        known = ", ".join(ARCHITECTURES)
        raise ExportError(
            f"{name!r} is no architecture ({known}), no spec and no .onnx file, and there is no repository {models}"
        )
    version = ModelRepository(models).version(name)
    layers = layers_of_file(version.model_path)
    click.echo(f"{name}: version {version.version} of {models}")
    if is_design:
        click.echo("The architecture or spec of that name is shown where --models names a folder without it.")
    print_layers(layers, version.manifest.provenance.parameters)
