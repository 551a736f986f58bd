"""Define the options of the sub-commands that make maps of items, and read the rows that they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from avizor_inference.errors import InvalidInput
from avizor_inference.explain.raw_rows import RawRow, read_rows
from avizor_inference.items.input_spec import InputSpec

Command = TypeVar("Command", bound=Callable[..., Any])

MAP_OPTIONS = ("number", "as_json")


def items_argument(command: Command) -> Command:
    """Add ITEM..., the files to look at."""
    return click.argument("items", nargs=-1, required=True, metavar="ITEM...", type=click.Path(path_type=Path))(command)


def map_options(command: Command) -> Command:
    """Add MAP_OPTIONS."""
    number = click.option(
        "--window",
        "--row",
        "number",
        metavar="N",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Which window of a sound or a signal, or row of a table or a .npy file; from 0.",
    )
    return number(click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each map.")(command))


def chosen_row(item: Path, spec: InputSpec, number: int) -> RawRow:
    """Return one row of a file. Raises InvalidInput if it has fewer, and what read_rows raises."""
    rows = read_rows(item, spec)
    if number >= len(rows):
        raise InvalidInput(f"{item} has {len(rows)} rows (windows of a sound), numbered from 0; there is no {number}")
    return rows[number]
