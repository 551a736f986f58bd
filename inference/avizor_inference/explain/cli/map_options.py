"""Define the options of the sub-commands that make maps of items, and read the rows that they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from avizor_inference.engines.base import Engine
from avizor_inference.error_text import counted
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.raw_rows import RawRow, read_rows
from avizor_inference.explain.telling_row import telling_row
from avizor_inference.repository.models import ModelVersion

Command = TypeVar("Command", bound=Callable[..., Any])

MAP_OPTIONS = ("number", "as_json")


def items_argument(command: Command) -> Command:
    """Add ITEM..., the files to look at."""
    return click.argument("items", nargs=-1, required=True, metavar="ITEM...", type=click.Path(path_type=Path))(command)


def map_options(command: Command) -> Command:
    """Add MAP_OPTIONS; the row that tells most is the default."""
    return number_option(None, "that in which the class is the most probable, or the score the highest")(json_option(command))


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


def curves_option(command: Command) -> Command:
    """Add `judge`."""
    return click.option("--curves", "judge", is_flag=True, help="Judge the map by deletion and insertion curves.")(command)


@dataclass(frozen=True, eq=False)
class ChosenRow:
    """Holds one row of a file, and the class to explain: None where it is that of the row, and of an autoencoder.

    among: the number of rows of which it tells most; 0 if it was named, or is the only one.
    """

    row: RawRow
    target: str | int | None
    among: int = 0


def chosen_row(engine: Engine, version: ModelVersion, item: Path, number: int | None, class_: str | None = None) -> ChosenRow:
    """Return one row of a file; number None: the row that tells most of the class, or of the score.

    Raises InvalidInput if the file has no such row, and what read_rows raises.
    """
    rows = read_rows(item, version.manifest.input)
    if not rows:
        raise InvalidInput(f"{item} holds nothing that the model could look at; name another file")
    if number is not None or len(rows) == 1:
        return ChosenRow(_row_of(rows, item, number or 0), class_)
    row, target = telling_row(engine, version, rows, class_)
    return ChosenRow(row, None if version.manifest.task == "reconstruct" else target, len(rows))


def _row_of(rows: Sequence[RawRow], item: Path, number: int) -> RawRow:
    """Return one of the rows of a file. Raises InvalidInput if it has fewer."""
    if number >= len(rows):
        raise InvalidInput(
            f"{item} has {counted(len(rows), 'row')} (windows of a sound), numbered from 0; there is no {number}"
        )
    return rows[number]
