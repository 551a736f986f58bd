"""Run `avizor explain error-map`: where an autoencoder's reconstruction of items is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from avizor_inference.engines.device import Device
from avizor_inference.explain.cli.each_item import each_item
from avizor_inference.explain.cli.gateway_options import gateway_options, write_maps_of_gateway
from avizor_inference.explain.cli.map_options import chosen_row, curves_option, items_argument, map_options
from avizor_inference.explain.cli.map_output import MapOutput, name_of_maps
from avizor_inference.explain.cli.options import opened, out_option
from avizor_inference.explain.curves import curves
from avizor_inference.explain.error_map import error_map as map_of_errors
from avizor_inference.model_options import engine_options, model_options

if TYPE_CHECKING:
    from avizor_inference.gateway_connection import GatewayAddress


_EXAMPLES = """\b
Examples:
  avizor explain error-map fan monday.wav
  avizor explain error-map transfers rows.csv --row 17 --out maps
  avizor explain error-map fan monday.wav --gateway localhost:50051
"""


@click.command(short_help="Where an autoencoder's reconstruction is wrong.", epilog=_EXAMPLES)
@click.argument("model")
@items_argument
@map_options
@curves_option
@click.option("--fill", metavar="FILL", help="What hides places for the curves; see `avizor explain occlusion --help`.")
@model_options
@engine_options
@gateway_options
@out_option
def error_map(
    model: str,
    items: tuple[Path, ...],
    number: int | None,
    as_json: bool,
    judge: bool,
    fill: str | None,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
    out: Path,
    gateway: GatewayAddress | None,
) -> None:
    """Map the squared error of MODEL, an autoencoder, over each ITEM."""
    if gateway:
        write_maps_of_gateway(gateway, "error_map", model, version, items, number, out, as_json=as_json)
        return
    with opened(models, model, version, engine, device) as (running, chosen):
        spec = chosen.manifest.input
        output = MapOutput(out, name_of_maps(model, version), spec, as_json=as_json)

        def look_at(item: Path) -> None:
            found = map_of_errors(running, chosen, chosen_row(running, chosen, item, number).row)
            output.write([(found, curves(running, chosen, found, fill) if judge else None)])

        each_item(items, look_at)
