"""Run `avizor explain cam`: where in items a classifier sees the evidence for a class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.engines.base import Engine
from avizor_inference.engines.device import Device
from avizor_inference.errors import NotExplainable
from avizor_inference.explain.cam import ClassHead, class_maps
from avizor_inference.explain.cli.each_item import each_item
from avizor_inference.explain.cli.gateway_options import GATEWAY_OPTIONS, gateway_options, write_maps_of_gateway
from avizor_inference.explain.cli.map_options import (
    MAP_OPTIONS,
    chosen_row,
    curves_option,
    items_argument,
    json_option,
    number_option,
)
from avizor_inference.explain.cli.map_output import MapOutput, name_of_maps
from avizor_inference.explain.cli.options import OUT_OPTIONS, opened, out_option
from avizor_inference.explain.curves import curves
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.target import class_target
from avizor_inference.items.input_spec import TableInput
from avizor_inference.model_options import ENGINE_OPTIONS, MODEL_OPTIONS, engine_options, model_options
from avizor_inference.repository.models import ModelVersion

if TYPE_CHECKING:
    from avizor_inference.gateway_connection import GatewayAddress

_GROUPS = {
    "What to look at": ("class_", *MAP_OPTIONS),
    "Model and engine": (*MODEL_OPTIONS, *ENGINE_OPTIONS),
    "Gateway": GATEWAY_OPTIONS,
    "Output": (*OUT_OPTIONS, "judge"),
}

_EXAMPLES = """\b
Examples:
  avizor explain cam digits seven.png
  avizor explain cam photos cat.jpg street.jpg --class dog --out maps
  avizor explain cam fans fan.wav --window 3 --engine triton://localhost:8001
  avizor explain cam fans fan.wav --gateway localhost:50051
"""


@click.command(cls=GroupedCommand, groups=_GROUPS, short_help="Where an item speaks for a class.", epilog=_EXAMPLES)
@click.argument("model")
@items_argument
@click.option(
    "--class", "class_", metavar="LABEL", show_default="the most probable", help="Class whose evidence is looked for."
)
@number_option(None, "that in which the class is the most probable")
@json_option
@curves_option
@model_options
@engine_options
@gateway_options
@out_option
def cam(
    model: str,
    items: tuple[Path, ...],
    class_: str | None,
    number: int | None,
    as_json: bool,
    judge: bool,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
    out: Path,
    gateway: GatewayAddress | None,
) -> None:
    """Draw the class activation map of each ITEM: where MODEL, a classifier, sees evidence for a class, and against it.

    It is Grad-CAM without its ReLU, by the exact gradient of the class's logit. Of a sound with several windows, the window is
    looked at in which the class of the whole sound is the most probable.
    """
    if gateway:
        write_maps_of_gateway(gateway, "cam", model, version, items, number, out, label=class_, as_json=as_json)
        return
    with opened(models, model, version, engine, device) as (running, chosen):
        if isinstance(chosen.manifest.input, TableInput):
            raise NotExplainable(
                f"{model} takes rows of a table, which have no places; use `avizor explain occlusion {model} ...`"
            )
        head = ClassHead.read(chosen)
        if class_ is not None:
            class_target(chosen.manifest, class_)  # refused before anything is read
        output = MapOutput(out, name_of_maps(model, version, class_), chosen.manifest.input, as_json=as_json)

        def look_at(item: Path) -> None:
            found = _map_of(running, chosen, head, item, class_, number)
            output.write([(found, curves(running, chosen, found) if judge else None)])

        each_item(items, look_at)


def _map_of(
    engine: Engine, version: ModelVersion, head: ClassHead, item: Path, class_: str | None, number: int | None
) -> HeatMap:
    """Return the map of one row of a file."""
    chosen = chosen_row(engine, version, item, number, class_)
    (found,) = class_maps(engine, version, [chosen.row], chosen.target, head)
    if not chosen.among:
        return found
    which = f"{chosen.row.index} of 0 to {chosen.among - 1}, where {found.target} is the most probable"
    return replace(found, settings={**found.settings, "row": which})
