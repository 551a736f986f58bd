"""Define the options of the sub-commands that make maps of items, and read the rows that they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Add MAP_OPTIONS; the first row is the default."""
    return number_option(0)(json_option(command))


def number_option(default: int | None, shown: str | bool = True) -> Callable[[Command], Command]:
    """Return what adds `number`. shown: the default as --help tells it."""
    return click.option(
        "--window",
        "--row",
        "number",
        metavar="N",
        type=click.IntRange(min=0),
        default=default,
        show_default=shown,
        help="Which window of a sound or a signal, or row of a table or a .npy file; from 0.",
    )


def json_option(command: Command) -> Command:
    """Add `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each map.")(command)


def chosen_row(item: Path, spec: InputSpec, number: int) -> RawRow:
    """Return one row of a file. Raises InvalidInput if it has fewer, and what read_rows raises."""
    return row_of(read_rows(item, spec), item, number)


def row_of(rows: Sequence[RawRow], item: Path, number: int) -> RawRow:
    """Return one of the rows of a file. Raises InvalidInput if it has fewer."""
    if number >= len(rows):
        raise InvalidInput(f"{item} has {len(rows)} rows (windows of a sound), numbered from 0; there is no {number}")
    return rows[number]
