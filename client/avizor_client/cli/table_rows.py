"""Read the rows of a CSV file as a model of tables takes them: the same cells as a batch job, of the same columns."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from avizor_client.answers import Model

Row = dict[str, float | str | bool | None]

# Texts that mean a missing value, as docs/inputs.md has them.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", "-")
_OTHER_SEPARATORS = (";", "\t", "|")
# Characters of the longest record, with the lines that are within its quotes. A quote that is never closed ends here, too.
_LONGEST_RECORD = 1 << 20
_TRUTH = {"true": 1.0, "false": 0.0}


class SourcedRow(NamedTuple):
    """A row as the model takes it, and where it comes from; "" if the table does not tell."""

    cells: Row
    source: str


@dataclass(frozen=True)
class WrongRow:
    """A row that cannot be sent, and why."""

    problem: str


class NotATable(Exception):
    """The file lacks columns, or names none; the text says which."""


def rows_of(lines: TextIO, model: Model, source_column: str = "") -> Iterator[SourcedRow | WrongRow]:
    """Yield the rows of a CSV file with a header, each with the columns of the model alone; others are ignored.

    source_column: names each row's source; a row in which it is empty is a WrongRow.
    A row that is no record of a CSV file is a WrongRow, and costs no other. Raises NotATable, also if its columns are not
    separated by commas, csv.Error for the header, UnicodeDecodeError.
    """
    columns: dict[str, Mapping[str, Any]] = {column["name"]: column for column in model.input["columns"]}
    found = _records(lines)
    header = next(found, "")
    _check_separator(header)
    names = _values(header)
    _check(names, [*columns, *([source_column] if source_column and source_column not in columns else [])])
    for record in found:
        try:
            values = _values(record)
        except csv.Error as error:
            yield WrongRow(f"the row is not a record of a CSV file ({error})")
        else:
            yield _row(dict(zip(names, values, strict=False)), columns, source_column, len(values), len(names))


def _records(lines: TextIO) -> Iterator[str]:
    """Yield each record; empty lines are left out. Lines within quotes belong to one, as far as that makes a record."""
    ahead = deque[str]()
    while line := ahead.popleft() if ahead else next(lines, ""):
        record = _closed(line, ahead, lines) if _is_open(line) else line
        if record.strip():
            yield record


def _closed(first: str, ahead: deque[str], lines: TextIO) -> str:
    """Return the record that begins with a line whose last quote is open; the line alone if what follows makes no record of it.

    ahead: lines that were read and are not of an earlier record.
    """
    record = first
    for place in range(_LONGEST_RECORD):
        if place == len(ahead):
            ahead.append(next(lines, ""))
        record += ahead[place]
        if not ahead[place] or len(record) > _LONGEST_RECORD:
            break
        if '"' in ahead[place] and not _is_open(record):
            if _problem(record):
                break
            for _ in range(place + 1):
                ahead.popleft()
            return record
    return first


def _is_open(text: str) -> bool:
    """Return whether a text ends within quotes."""
    return '"' in text and "unexpected end" in _problem(text)


def _problem(text: str) -> str:
    """Return what is wrong with a text as CSV; "" if nothing is."""
    try:
        _values(text)
    except csv.Error as error:
        return str(error)
    return ""


def _values(record: str) -> list[str]:
    return next(csv.reader([record], strict=True), [])


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


def _row(
    cells: Mapping[str, str], columns: Mapping[str, Mapping[str, Any]], source_column: str, values: int, names: int
) -> SourcedRow | WrongRow:
    if values != names:
        return WrongRow(f"the row has {values} values, and the table {names} columns")
    if source_column and not cells[source_column]:
        return WrongRow(f"column {source_column!r}, which names the sources, is empty here; write the source of the row")
    row = Row()
    for name, column in columns.items():
        try:
            row[name] = _value(cells[name], column.get("categories", ()))
        except ValueError:
            return WrongRow(
                f"{cells[name]!r} is in {name!r}, a column of numbers; write a number with a decimal point, or nothing for a "
                "missing one"
            )
    return SourcedRow(row, cells[source_column] if source_column else "")


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
