"""Define the options that say what of a user's data is read, for `avizor batch`, `avizor calibrate` and `avizor export`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import click

from avizor_inference.cli_option_groups import Command, with_options
from avizor_inference.items.standard_input import INPUT_FILE, STANDARD_INPUT, keep_list
from avizor_inference.items.windows import MAX_CHANNELS, ChannelMode

SOURCE_OPTIONS = ("source_pattern", "path_column", "source_column", "bytes_column", "channels", "limit")


# Where the context of a command has the file of the list that was read from standard input.
_KEPT = f"{__name__}.kept"


class _Channels(click.ParamType):  # type: ignore[type-arg]
    """Takes `each`, `mix` or the number of a channel."""

    name = "channels"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> ChannelMode:
        """Return what the option says. Raises BadParameter."""
        text = str(value)
        if text in ("each", "mix"):
            return cast(ChannelMode, text)
        if text.isascii() and text.isdecimal() and int(text) < MAX_CHANNELS:
            return int(text)
        raise self.fail(f"{text!r} is not known; give each, mix, or the number of a channel, from 0", param, context)


class DataPath(click.Path):
    """Takes the path or the URL of data. `-` is the list of files on standard input, kept in a file until the command ends."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises BadParameter, OSError."""
        if str(value) != STANDARD_INPUT or ctx is None:
            return super().convert(value, param, ctx)
        if _KEPT not in ctx.meta:  # several options may name the one list
            ctx.meta[_KEPT] = Path(ctx.with_resource(TemporaryDirectory())) / INPUT_FILE
            keep_list(sys.stdin.buffer, ctx.meta[_KEPT].parent)
        return ctx.meta[_KEPT]


channels_option = click.option(
    "--channels",
    metavar="each|mix|N",
    type=_Channels(),
    default="each",
    show_default=True,
    help="What a model of one channel takes of a sound of several: each, their mean, or channel N, from 0.",
)


def source_options(data: str) -> Callable[[Command], Command]:
    """Return what adds the options SOURCE_OPTIONS to a command. data: what they are about, for their help."""
    options = (
        click.option(
            "--source-pattern",
            metavar="REGEX",
            default="",
            show_default="first folder of its path",
            help="Regular expression whose first group in a file's path is its source.",
        ),
        click.option(
            "--path-column",
            metavar="NAME",
            default="",
            help=f"Column of the paths, if {data} is CSV or Parquet that lists files.",
        ),
        click.option(
            "--source-column",
            metavar="NAME",
            default="",
            help="Column of the sources there, or in tables whose rows are the items.",
        ),
        click.option(
            "--bytes-column",
            metavar="NAME",
            default="",
            help=f"Column of whole files, if {data} is Parquet with pictures or sounds.",
        ),
        channels_option,
        click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(min=1),
            help="Read the first N files, or items in files of many, to try.",
        ),
    )

    return lambda command: with_options(command, *options)
