"""Read the rows of a CSV file as a model of tables takes them: the same cells as a batch job, of the same columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from avizor_client.answers import Model

Row = dict[str, float | str | bool | None]

# Texts that mean a missing value, as docs/inputs.md has them.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", "-")
_OTHER_SEPARATORS = (";", "\t", "|")
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class WrongRow:
    """A row that cannot be sent, and why."""

    problem: str


class NotATable(Exception):
    """The file lacks columns, or names none; the text says which."""


def rows_of(lines: TextIO, model: Model) -> Iterator[Row | WrongRow]:
    """Yield the rows of a CSV file with a header, each with the columns of the model alone; others are ignored.

    Raises NotATable, also if its columns are not separated by commas, csv.Error, UnicodeDecodeError.
    """
    columns: dict[str, Mapping[str, Any]] = {column["name"]: column for column in model.input["columns"]}
    header = next(lines, "")
    _check_separator(header)
    names = next(csv.reader([header]), [])
    _check(names, list(columns))
    for values in csv.reader(lines):
        if values:  # and no empty line
            yield _row(dict(zip(names, values, strict=False)), columns, len(values), len(names))


def _check_separator(header: str) -> None:
    """Raise NotATable for other separators than commas: its decimals may be commas, and a batch job does not read it either."""
    if "," not in header and (separator := next((each for each in _OTHER_SEPARATORS if each in header), "")):
        raise NotATable(
            f"its columns are separated by {separator!r}, and tables are read with commas and decimal points; write it so"
        )


def _check(names: Sequence[str], wanted: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in names]:
        has = f"it has {', '.join(names)}" if any(names) else "it is empty"
        raise NotATable(f"the table has no column {', '.join(map(repr, missing))}; {has}")
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise NotATable(f"the table has more than one column {twice[0]!r}; leave one of them out")


def _row(cells: Mapping[str, str], columns: Mapping[str, Mapping[str, Any]], values: int, names: int) -> Row | WrongRow:
    if values != names:
        return WrongRow(f"the row has {values} values, and the table {names} columns")
    row = Row()
    for name, column in columns.items():
        try:
            row[name] = _value(cells[name], column.get("categories", ()))
        except ValueError:
            return WrongRow(
                f"{cells[name]!r} is in {name!r}, a column of numbers; write a number with a decimal point, or nothing for a "
                "missing one"
            )
    return row


def _value(text: str, categories: Sequence[str]) -> float | str | None:
    """Return what a cell holds. Raises ValueError for a text in a column of numbers, which has no categories."""
    if categories:
        return text if text in categories or text not in MISSING else None
    text = text.strip()
    if text in MISSING:
        return None
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    number = float(text)
    if "_" in text or not math.isfinite(number):
        raise ValueError(text)
    return number
