"""Define `avizor describe`: print an architecture, a spec, a model or a file layer by layer. What it does is in command.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import JsonValue

from avizor_export.architectures.grammar_text import GRAMMAR
from avizor_export.architectures.names import LAYOUTS
from avizor_export.networks.factory_arguments import parse_settings
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.slow_imports import slow_imports

_positive = click.IntRange(min=1)

_GROUPS = {
    "Published models": ("models",),
    "Factories": ("input", "settings"),
    "Architectures and specs": ("classes", "channels", "size", "height", "width", "length", "columns", "batch_norm", "layout"),
}

_EXAMPLES = """\b
Examples:
  avizor describe "conv32x2 pool conv64x2 pool fc256 fc10" --size 32 --channels 1
  avizor describe digits --models models
  avizor describe torchvision.models:resnet50 --input image:height=224,width=224,channels=3
"""


@click.command(
    cls=GroupedCommand,
    short_help="Print a network layer by layer.",
    epilog=_EXAMPLES + "\n\b\n" + GRAMMAR.replace("\n\n", "\n\n\b\n"),
    groups=_GROUPS,
    context_settings={"show_default": True},
)
@click.argument("target")
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), help="Model repository.")
@click.option("--input", metavar="DESCRIPTION", help="Raw item of a factory's network, as in `avizor export`.")
@click.option("--set", "settings", multiple=True, metavar="KEY=JSON", callback=parse_settings, help="Argument of the factory.")
@click.option("--classes", type=_positive, show_default="as published, or as the spec says", help="Number of classes.")
@click.option(
    "--channels", type=_positive, show_default="as published; 3 for a spec, 1 with --length", help="Channels of the input."
)
@click.option("--size", type=_positive, show_default="as published; 32 for a spec", help="Height and width in pixels.")
@click.option("--height", type=_positive, help="Height in pixels, instead of --size.")
@click.option("--width", type=_positive, help="Width in pixels, instead of --size.")
@click.option("--length", type=_positive, help="Steps of a signal, for a spec.")
@click.option("--columns", type=_positive, help="Numbers of a table row, for a spec that begins with fc.")
@click.option("--batch-norm", is_flag=True, help="Show the variant with batch norm (alexnet, zfnet, vgg16).")
@click.option(
    "--layout", type=click.Choice(LAYOUTS), show_default="adapted", help="Layout of an architecture of torchvision's."
)
def describe(target: str, models: Path, input: str | None, settings: Mapping[str, JsonValue], **options: Any) -> None:
    """Print TARGET layer by layer: output, receptive field, parameters, multiply-adds and their share.

    TARGET: the name of a published model, an architecture (lenet, alexnet, zfnet, googlenet, vgg16, resnet34, densenet121), an
    .onnx or .pt2 file, a torch module's factory (package.module:factory, with --input), or a spec such as
    "conv32x2 pool conv64x2 pool fc256 fc10" (classifier), "conv16s2bn conv32s2bn latent24" (autoencoder) or
    "conv64k5 conv32 shuffle2" (super-resolution). A published model comes before an architecture of the same name. Warns where
    a design breaks the rules of thumb, and says why.
    """
    with slow_imports():  # of torch: an option that does not exist was told before
        from avizor_export.description import command
    command.print_target(target, models, input, settings, command.DesignOptions(**options))
