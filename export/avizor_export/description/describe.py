"""`avizor describe`: an architecture, a spec, a model or a file, layer by layer."""

from __future__ import annotations

from pathlib import Path

import click
import onnx_ir as ir
import onnx_ir.passes.common as passes
import torch
from torch import nn

from avizor_export.architectures.catalogue import ARCHITECTURES, build, build_autoencoder
from avizor_export.architectures.grammar import is_spec, parse_spec, reconstructs
from avizor_export.description.design_rules import warnings_for
from avizor_export.description.layers import Layer, layers_of, table
from avizor_export.to_onnx import to_program
from avizor_inference.errors import ExportError
from avizor_inference.repository import ModelRepository


def layers_of_network(network: nn.Module, shape: tuple[int, ...]) -> list[Layer]:
    """Layers of a module that takes float32[batch, *shape]; nothing is computed, so it may live on the meta device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    example = torch.zeros(2, *shape, device=device)
    # Not optimised: that would fold batch norms into the convolutions before them, and needs the weights.
    return layers_of(to_program(network.eval(), example, ["input"], ["output"], optimize=False).model.graph)


def layers_of_design(design: str, classes: int, shape: tuple[int, ...], batch_norm: bool = False) -> tuple[list[Layer], int]:
    """Layers and parameters of an architecture or spec, without making its weights. Raises ExportError.

    classes: nothing to a spec of an autoencoder. shape: channels, height, width; or the numbers of a row.
    """
    with torch.device("meta"):
        is_autoencoder = reconstructs(design)
        network = build_autoencoder(design, shape) if is_autoencoder else build(design, classes, shape, batch_norm=batch_norm)
    return layers_of_network(network, shape), sum(parameter.numel() for parameter in network.parameters())


def layers_of_file(path: Path) -> list[Layer]:
    """Layers of an ONNX file. Raises ExportError if it cannot be read."""
    try:
        model = ir.load(path)
        passes.ShapeInferencePass()(model)
        if not len(model.graph):
            raise ValueError("it has no nodes")
        return layers_of(model.graph)
    except Exception as error:  # the reader's errors share no base class, and a damaged file has strides of 0
        raise ExportError(f"{path} is not an ONNX model that can be read: {error}; export it again") from error


@click.command()
@click.argument("target")
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="Model repository.")
@click.option("--classes", type=click.IntRange(min=1), help="Default: as published, or as the spec says.")
@click.option("--channels", type=click.IntRange(min=1), help="Default: as published; 3 for a spec.")
@click.option("--size", type=click.IntRange(min=1), help="Pixels of height and width. Default: as published; 32 for a spec.")
@click.option("--height", type=click.IntRange(min=1), help="In place of --size.")
@click.option("--width", type=click.IntRange(min=1), help="In place of --size.")
@click.option("--columns", type=click.IntRange(min=1), help="Numbers of a table row, for a spec that begins with fc.")
@click.option("--batch-norm", is_flag=True, help="The variant with batch norm (alexnet, zfnet, vgg16).")
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
) -> None:
    """Print TARGET layer by layer: output, receptive field, parameters, multiply-adds and their share.

    TARGET: an architecture (lenet, alexnet, zfnet, googlenet, vgg16, resnet34, densenet121), a spec such as
    "conv32x2 pool conv64x2 pool fc256 fc10" (classifier), "conv16s2bn conv32s2bn latent24" (autoencoder) or "conv64k5 conv32
    shuffle2" (super-resolution), the name of a published model, or an .onnx file. Warns where a design breaks the rules of
    thumb, and says why.
    """
    total = None
    if target in ARCHITECTURES or is_spec(target):
        known = ARCHITECTURES.get(target)
        default = known.shape if known else (3, 32, 32)
        shape: tuple[int, ...] = (channels or default[0], height or size or default[1], width or size or default[2])
        if columns:
            shape = (columns,)
        layers, total = layers_of_design(target, classes or _classes(target), shape, batch_norm)
        click.echo(f"{target}: input {'x'.join(map(str, shape))}")
    elif target.endswith(".onnx"):
        layers = layers_of_file(Path(target))
    else:
        layers = layers_of_file(_published(models, target))
    print_layers(layers, total)


def print_layers(layers: list[Layer], total: int | None = None) -> None:
    """The table and the warnings."""
    rows = table(layers, total)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
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


def _published(models: Path, name: str) -> Path:
    if not models.is_dir():
        known = ", ".join(ARCHITECTURES)
        raise ExportError(
            f"{name!r} is no architecture ({known}), no spec and no .onnx file, and there is no repository {models}"
        )
    return ModelRepository(models).version(name).model_path
