"""Print what `avizor describe` is asked for, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import click
from pydantic import JsonValue

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.architectures.names import unknown_network
from avizor_export.architectures.spec_grammar import is_spec, parse_spec, reconstructs
from avizor_export.description.design_rules import warnings_for
from avizor_export.description.layer import Layer
from avizor_export.description.table import layer_table, unexplained_parameters
from avizor_export.description.targets import layers_of_design, layers_of_factory, layers_of_file, layers_of_program
from avizor_export.networks.input_description import parse_input
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import NAME_PATTERN
from avizor_inference.repository.models import ModelRepository


@dataclass(frozen=True)
class DesignOptions:
    """Hold the options that say what an architecture or spec is built for; None, or False, if they are not given."""

    classes: int | None
    channels: int | None
    size: int | None
    height: int | None
    width: int | None
    length: int | None
    columns: int | None
    batch_norm: bool
    layout: str | None

    def refuse(self, reason: str, *names: str) -> None:
        """Raise click.BadParameter if one of the named options is given; without names, if any option is given."""
        for field in fields(self):
            if (not names or field.name in names) and getattr(self, field.name):
                raise click.BadParameter(reason, param_hint=f"--{field.name.replace('_', '-')}")

    def shape(self, design: str) -> tuple[int, ...]:
        """Return the shape of the input: (channels, height, width), (channels, steps), or (numbers,) for a table row."""
        if self.columns:
            return (self.columns,)
        if self.length:
            return (self.channels or 1, self.length)
        channels, height, width = ARCHITECTURES[design].shape if design in ARCHITECTURES else (3, 32, 32)
        return (self.channels or channels, self.height or self.size or height, self.width or self.size or width)


def print_target(
    target: str, models: Path, input: str | None, settings: Mapping[str, JsonValue], design_options: DesignOptions
) -> None:
    """Print the layers of what `target` names. The arguments are those of the command.

    Raises ExportError, and click.BadParameter for an option that has no effect on such a target.
    """
    is_design = target in ARCHITECTURES or is_spec(target)
    if ":" in target and not target.endswith((".onnx", ".pt2")):
        design_options.refuse("it is for architectures and specs; a factory takes --input and --set")
        _describe_factory(target, settings, input)
        return
    if input or settings:
        raise click.BadParameter("--input and --set are for package.module:factory", param_hint="--input" if input else "--set")
    if target.endswith((".onnx", ".pt2")):
        design_options.refuse("a file has its sizes inside")
        print_layers(layers_of_file(Path(target)) if target.endswith(".onnx") else layers_of_program(Path(target)))
    elif _is_published(models, target):
        design_options.refuse(f"{target!r} is a published model, and has its sizes inside")
        _describe_published(models, target, is_design)
    elif is_design:
        _describe_design(target, design_options)
    else:
        raise ExportError(unknown_network(target, _no_model_in(models)))


def _describe_design(design: str, options: DesignOptions) -> None:
    if options.columns:
        reason = "--columns describes a row of numbers, which has no height, width or channels"
        options.refuse(reason, "channels", "size", "height", "width", "length")
    if options.length:
        options.refuse("--length describes a signal, which has no height or width", "size", "height", "width")
    if reconstructs(design):
        options.refuse("the spec of an autoencoder has neither", "classes", "batch_norm")
    if "layout" not in (ARCHITECTURES[design].choices if design in ARCHITECTURES else {}):
        options.refuse(f"{design!r} has one layout", "layout")
    shape = options.shape(design)
    settings = {"layout": options.layout} if options.layout else {}
    classes = options.classes or _classes(design)
    layers, parameters = layers_of_design(design, classes, shape, options.batch_norm, **settings)
    click.echo(f"{design}: input {'x'.join(map(str, shape))}")
    print_layers(layers, parameters)


def _describe_factory(factory: str, arguments: Mapping[str, JsonValue], text: str | None) -> None:
    if text is None:
        raise ExportError("say with --input what one raw item is, as in --input image:height=32,width=32,channels=1")
    layers, parameters, shape = layers_of_factory(factory, arguments, parse_input(text))
    click.echo(f"{factory}: input {'x'.join(map(str, shape))}")
    print_layers(layers, parameters)


def print_layers(layers: Sequence[Layer], total: int | None = None) -> None:
    """Print the table of layers and the warnings. total: the network's parameters, if they are known."""
    rows = layer_table(layers, total)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
    if note := unexplained_parameters(layers, total):
        click.echo(note)
    for warning in warnings_for(layers):
        click.echo(f"warning: {warning}")


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


def _no_model_in(models: Path) -> str:
    """Return that a name is none of the repository's models, for the end of a list of what it is not."""
    if not models.is_dir():
        return f", and there is no repository {models} (--models)"
    return f", and no model of {models} ({', '.join(ModelRepository(models).names()) or 'which has none'})"


def _describe_published(models: Path, name: str, is_design: bool) -> None:
    version = ModelRepository(models).served(name)
    layers = layers_of_file(version.model_path)
    click.echo(f"{name}: version {version.version} of {models}")
    if is_design:
        click.echo("The architecture or spec of that name is shown where --models names a folder without it.")
    print_layers(layers, version.manifest.provenance.parameters)
