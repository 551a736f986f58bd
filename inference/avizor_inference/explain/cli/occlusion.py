"""Run `avizor explain occlusion`: hide parts of items, one after the other, and map by how much the answer falls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.engines.base import Engine
from avizor_inference.engines.device import Device
from avizor_inference.errors import InvalidInput, NotExplainable
from avizor_inference.explain.cam import class_maps
from avizor_inference.explain.cli.each_item import each_item
from avizor_inference.explain.cli.gateway_options import GATEWAY_OPTIONS, gateway_options, write_maps_of_gateway
from avizor_inference.explain.cli.map_options import MAP_OPTIONS, chosen_row, curves_option, items_argument, map_options
from avizor_inference.explain.cli.map_output import Judged, MapOutput, name_of_maps
from avizor_inference.explain.cli.options import OUT_OPTIONS, opened, out_option
from avizor_inference.explain.curves import curves
from avizor_inference.explain.error_map import error_map
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.hiding.settings import By, HidingSettings
from avizor_inference.explain.occlusion import occlusion_map, rows_of_map
from avizor_inference.model_options import ENGINE_OPTIONS, MODEL_OPTIONS, engine_options, model_options
from avizor_inference.repository.models import ModelVersion

if TYPE_CHECKING:
    from avizor_inference.gateway_connection import GatewayAddress

_GROUPS = {
    "What to hide": ("class_", "size", "stride", "fill", "by"),
    "What to make": (*MAP_OPTIONS, *OUT_OPTIONS, "judge", "compare"),
    "Model and engine": (*MODEL_OPTIONS, *ENGINE_OPTIONS),
    "Gateway": GATEWAY_OPTIONS,
}

_EXAMPLES = """\b
Examples:
  avizor explain occlusion digits seven.png
  avizor explain occlusion photos cat.jpg --class dog --size 32 --stride 16 --fill blur
  avizor explain occlusion fan fan.wav --by both --window 3 --compare
  avizor explain occlusion fan fan.wav --by frequency --gateway localhost:50051
"""


class _Lengths(click.ParamType):  # type: ignore[type-arg]
    """Reads one number, or two as in 32x16."""

    name = "N[xN]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers, and fail with a text that says how to write them."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is no length; write one number, or two as in 32x16", param, ctx)


@click.command(
    cls=GroupedCommand, groups=_GROUPS, short_help="Where hiding parts of an item changes the answer most.", epilog=_EXAMPLES
)
@click.argument("model")
@items_argument
@click.option(
    "--class", "class_", metavar="LABEL", show_default="the most probable", help="Class whose probability is looked at."
)
@click.option(
    "--size",
    type=_Lengths(),
    default=(),
    show_default="by the size of the item",
    help="Of what is hidden at once: pixels; seconds or Hz of sound, both as in 500x0.1; seconds of a signal.",
)
@click.option(
    "--stride", type=_Lengths(), default=(), show_default="half the size", help="From one place to the next, in the same unit."
)
@click.option(
    "--fill",
    metavar="FILL",
    help="What is put there. Image: mean, blur, black, 0..255. Sound: mean, silence, -20 (dB). Signal: mean, usual, a number. "
    "Row: usual, missing. Tensor: mean, zero, a number.  [default: the first]",
)
@click.option(
    "--by",
    type=click.Choice(["time", "frequency", "both"]),
    show_default="time",
    help="Of sound: stretches of time, bands of frequency, or bands in stretches.",
)
@map_options
@curves_option
@click.option("--compare", is_flag=True, help="Put the other kind of map beside it, class activation or error, with curves.")
@model_options
@engine_options
@gateway_options
@out_option
def occlusion(
    model: str,
    items: tuple[Path, ...],
    class_: str | None,
    size: tuple[float, ...],
    stride: tuple[float, ...],
    fill: str | None,
    by: By | None,
    number: int | None,
    as_json: bool,
    judge: bool,
    compare: bool,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
    out: Path,
    gateway: GatewayAddress | None,
) -> None:
    """Hide parts of each ITEM, one after the other, and map by how much MODEL's answer falls.

    The answer is the probability of a class, or an autoencoder's score: where hiding makes the score fall, the item is odd.
    """
    settings = HidingSettings(size, stride, fill, by)
    if gateway:
        write_maps_of_gateway(
            gateway, "occlusion", model, version, items, number, out, label=class_, hiding=settings, as_json=as_json
        )
        return
    with opened(models, model, version, engine, device) as (running, chosen):
        spec = chosen.manifest.input
        rows_of_map(spec, settings)  # refused before anything is read
        output = MapOutput(out, name_of_maps(model, version, class_, by), spec, as_json=as_json)

        def look_at(item: Path) -> None:
            shown = chosen_row(running, chosen, item, number, class_)
            found = occlusion_map(running, chosen, shown.row, settings, shown.target)
            maps = [found, *(_other_map(running, chosen, found) if compare else ())]
            output.write([_judged(running, chosen, each, fill) if judge or compare else (each, None) for each in maps])

        each_item(items, look_at)


def _other_map(engine: Engine, version: ModelVersion, found: HeatMap) -> list[HeatMap]:
    """Return the map of the other kind for the same row and class; none, and why on standard error, if the model has none."""
    if version.manifest.task == "reconstruct":
        return [error_map(engine, version, found.row)]
    try:
        return class_maps(engine, version, [found.row], found.target)
    except NotExplainable as error:
        click.echo(f"no class activation map beside it: {error}", err=True)
        return []


def _judged(engine: Engine, version: ModelVersion, found: HeatMap, fill: str | None) -> Judged:
    try:
        return found, curves(engine, version, found, fill)
    except InvalidInput as error:
        click.echo(f"{found.kind} of {found.row.item} is not judged: {error}", err=True)
        return found, None
