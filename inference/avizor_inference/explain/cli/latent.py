"""Define `avizor explain latent`."""

from __future__ import annotations

import io
from pathlib import Path

import click
import numpy as np

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.durable_files import make_folder, write_bytes
from avizor_inference.engines.device import Device
from avizor_inference.explain.cli.options import OUT_OPTIONS, opened, out_option
from avizor_inference.explain.latent import MOST_ROWS, latent_sheet, read_some
from avizor_inference.explain.pictures.figure import new_figure
from avizor_inference.explain.pictures.latent_sheet import draw_sheet
from avizor_inference.items.windows import ChannelMode
from avizor_inference.model_options import ENGINE_OPTIONS, MODEL_OPTIONS, engine_options, model_options
from avizor_inference.source_options import channels_option

_GROUPS = {"Model": (*MODEL_OPTIONS, *ENGINE_OPTIONS), "Sheet": ("data", "size", "channels"), "Output": OUT_OPTIONS}

_EPILOG = """\b
Examples:
  avizor explain latent digit-codes --data pictures
  avizor explain latent machine-sound --data sounds/normal --size 7
"""


@click.command(cls=GroupedCommand, groups=_GROUPS, short_help="Draw an autoencoder's latent space as a sheet.", epilog=_EPILOG)
@click.argument("model")
@model_options
@engine_options
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help=f"Real items, a folder or a file: the first {MOST_ROWS:,} rows of it say which directions are the strongest.",
)
@click.option("--size", metavar="N", type=click.IntRange(2, 25), default=9, show_default=True, help="Steps in each direction.")
@channels_option
@out_option
def latent(
    model: str,
    models: Path,
    version: int | None,
    engine: str,
    device: Device,
    data: Path,
    size: int,
    channels: ChannelMode,
    out: Path,
) -> None:
    """Draw what the autoencoder MODEL makes of steps along the two strongest directions of its latent space.

    The directions are those in which the embeddings of real items differ most (PCA). The decoder is cut out of the ONNX graph;
    a graph in which the reconstruction depends on the input in another way, by skip connections, is refused.

    Writes OUT/MODEL-latent.png and .npz, which has the steps, the embeddings and the reconstructions.
    """
    new_figure(1, 1)  # says that matplotlib is missing before the work
    with opened(models, model, version, engine, device) as (running, chosen):
        spec = chosen.manifest.input
        sheet = latent_sheet(running, chosen, read_some(data, spec, channels), size)
    title = f"{model}, version {chosen.version}: latent space, directions of {sheet.items:,} rows"
    picture = draw_sheet(sheet, spec, title)
    numbers = io.BytesIO()
    np.savez_compressed(
        numbers,
        x=sheet.x,
        y=sheet.y,
        embeddings=sheet.embeddings,
        reconstructions=sheet.reconstructions,
        shares=np.array(sheet.shares),
    )
    make_folder(out)
    for suffix, content in ((".png", picture), (".npz", numbers.getvalue())):
        path = out / f"{model}-latent{suffix}"
        write_bytes(path, content)
        click.echo(str(path))
    click.echo(f"the two directions hold {sum(sheet.shares):.0%} of the variance of {sheet.items:,} embeddings")
