"""Run `avizor explain filters`: the filters of one layer as a picture, and how much of the network is noise."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
from pydantic import JsonValue

from avizor_inference.arrays import Array, Floats
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.durable_files import make_folder, write_bytes
from avizor_inference.errors import SettingsError
from avizor_inference.explain.cli.options import OUT_OPTIONS, out_option
from avizor_inference.explain.filter_axes import FilterPictures, pictures_of
from avizor_inference.explain.filter_noise import noise_of, share_of_noise
from avizor_inference.explain.layers import Convolution, Layers, noise_in
from avizor_inference.explain.pictures.figure import png_of
from avizor_inference.explain.pictures.filters import MOST_FEATURES, MOST_FILTERS, draw_filters, draw_matrix, filters_shown
from avizor_inference.model_options import MODEL_OPTIONS, model_options
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.reports import FilterNoise

_EXAMPLES = """\b
Examples:
  avizor explain filters digits
  avizor explain filters pumps --layer 4 --out pictures --json
"""
_GROUPS = {
    "What to draw": ("layer", "fold_batch_norm"),
    "Model": MODEL_OPTIONS,
    "Output": (*OUT_OPTIONS, "as_json"),
}


_DPI = 120
_NO_NORM = "none in the graph"


@dataclass(frozen=True, eq=False)
class _Drawing:
    """Holds what the command writes: the PNG file, the arrays behind it, and what is said about it."""

    layer: str
    shape: tuple[int, ...]
    png: bytes
    arrays: dict[str, Array]
    noise: Floats
    batch_norm: str
    left_out: str


@click.command(
    cls=GroupedCommand, groups=_GROUPS, short_help="The filters of a layer, and how much of it is noise.", epilog=_EXAMPLES
)
@click.argument("model")
@click.option("--layer", metavar="NAME", show_default="the first one", help="A convolution, as the model card names it.")
@click.option(
    "--fold-batch-norm/--no-fold-batch-norm",
    default=True,
    show_default=True,
    help="Whether the batch norm after the layer is part of its weights. Export has folded most of them already.",
)
@model_options
@out_option
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def filters(
    model: str, layer: str | None, fold_batch_norm: bool, models: Path, version: int | None, out: Path, as_json: bool
) -> None:
    """Draw the filters of the first convolution of MODEL, or of another one, each scaled by itself.

    Only the ONNX file is read. The number beside a filter is its noise: the probability that fresh weights have neighbours at
    least as much alike. It is near 0 for a filter that has learned a shape. A table's model has no filters: its first layer is
    drawn over the columns.
    """
    chosen = ModelRepository(models).served(model, version)
    chosen.verify()
    graph = onnx.load(chosen.model_path)
    layers = Layers(graph)
    convolution = layers.convolution(layer, fold_batch_norm=fold_batch_norm)
    if convolution is None:
        drawing = _draw_table(chosen, layers)
    else:
        drawing = _draw_convolution(chosen, convolution, is_first=convolution.name == layers.names()[0])
    network = noise_in(graph)
    picture, numbers = _write(chosen, drawing, out)
    facts = _facts(chosen, drawing, network) | {"picture": str(picture), "numbers": str(numbers)}
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_lines(facts, drawing, network)))


def _draw_convolution(version: ModelVersion, layer: Convolution, *, is_first: bool) -> _Drawing:
    noise = noise_of(layer.weights)
    pictures = pictures_of(layer, version.manifest.input, is_first=is_first)
    left_out = _left_out(pictures)
    title = f"{version.name} {version.version}, layer {layer.name}: {len(noise)} filters of {_by(layer.weights.shape[1:])}"
    if not np.isnan(noise).all():
        title += "\nnumber of a filter: its noise (near 0: learned)"
    title += f"\n{left_out}" if left_out else ""
    arrays = {"weights": layer.weights, "bias": layer.bias, "pictures": pictures.values, "noise": noise}
    png = png_of(draw_filters(pictures, noise, title), _DPI)
    return _Drawing(layer.name, layer.weights.shape, png, arrays, noise, layer.batch_norm, left_out)


def _draw_table(version: ModelVersion, layers: Layers) -> _Drawing:
    """Draw the first matrix over the columns of a table. Raises SettingsError for another network without convolutions."""
    features = version.manifest.input.feature_names()
    matrix = layers.first_matrix()
    if matrix is None:
        raise SettingsError(
            f"{version.name} has neither a convolution nor a matrix among its weights: there is nothing to draw"
        )
    name, weights = matrix
    if len(features) != weights.shape[1]:
        raise SettingsError(
            f"{version.name} has no convolution, and its first layer {name} is a matrix over {weights.shape[1]} numbers that "
            "have no place in the item: a picture would show nothing. Try `avizor explain occlusion`"
        )
    units, columns = min(len(weights), MOST_FILTERS), min(len(features), MOST_FEATURES)
    left_out = (
        ""
        if weights.shape == (units, columns)
        else f"shown: {units} of {len(weights)} units, {columns} of {len(features)} columns"
    )
    title = f"{version.name} {version.version}, layer {name}: {len(weights)} units" + (f"\n{left_out}" if left_out else "")
    arrays = {"weights": weights, "features": np.array(features)}
    png, unknown = png_of(draw_matrix(weights, features, title), _DPI), np.full(len(weights), np.nan)
    return _Drawing(name, weights.shape, png, arrays, unknown, _NO_NORM, left_out)


def _write(version: ModelVersion, drawing: _Drawing, out: Path) -> tuple[Path, Path]:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{version.name}-{version.version}-filters-{drawing.layer}")[:200]
    picture, numbers = out / f"{name}.png", out / f"{name}.npz"
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **drawing.arrays)
    try:
        make_folder(out)
        write_bytes(numbers, buffer.getvalue())
        write_bytes(picture, drawing.png)
    except OSError as error:
        raise SettingsError(f"{error.filename or out}: {error.strerror or error}; choose another folder with --out") from error
    return picture, numbers


def _facts(version: ModelVersion, drawing: _Drawing, network: FilterNoise) -> dict[str, JsonValue]:
    return {
        "model": version.name,
        "version": version.version,
        "layer": drawing.layer,
        "shape": list(drawing.shape),
        "batch_norm": drawing.batch_norm,
        "noise": [None if math.isnan(each) else round(float(each), 6) for each in drawing.noise],
        "share_of_noise": share_of_noise(drawing.noise),
        "network": {
            "share_of_noise": network.share,
            "p_value": network.p_value,
            "filters": network.filters,
            "layers": dict(network.layers),
            "not_judged": network.not_judged,
            "warning": network.warning,
        },
        "left_out": drawing.left_out,
    }


def _lines(facts: dict[str, JsonValue], drawing: _Drawing, network: FilterNoise) -> list[str]:
    lines = [f"{facts['model']} version {facts['version']}, layer {drawing.layer}: weights {_by(drawing.shape)}"]
    if drawing.batch_norm != _NO_NORM:
        lines.append(f"  batch norm: {drawing.batch_norm}")
    if (share := share_of_noise(drawing.noise)) is not None:
        lines.append(f"  noise: {share:.0%} of this layer's filters")
    if network.share is None:
        lines.append(f"  the network cannot be judged: {network.not_judged}")
    else:
        lines.append(
            f"  noise: {network.share:.0%} of the network, by {network.filters} filters in {len(network.layers)} layers"
        )
    if network.warning:
        lines.append(f"  warning: {network.warning}")
    if drawing.left_out:
        lines.append(f"  {drawing.left_out}; the numbers are of all")
    return [*lines, f"  {facts['picture']}", f"  {facts['numbers']}"]


def _left_out(pictures: FilterPictures) -> str:
    """Return what the picture shows, if that is not all."""
    filters, channels = filters_shown(pictures)
    all_filters, all_channels = pictures.values.shape[:2]
    parts = [f"{filters} of {all_filters} filters"] if filters < all_filters else []
    parts += [f"{channels} of {all_channels} input channels"] if channels < all_channels else []
    return f"shown: {', '.join(parts)}" if parts else ""


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
