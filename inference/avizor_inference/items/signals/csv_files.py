"""Read columns of a CSV file, line by line, in bounded memory. A row is a step, a column a channel."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import Block, Layout, listed, place_of
from avizor_inference.items.text_encoding import not_utf8

_CHUNK = 2**20  # bytes, and the longest line
# What may separate columns, if the model's input does not say it: the first of them that the first line contains.
_DELIMITERS = "\t;,"


def read_csv(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader. The first line names the columns, unless it holds numbers alone."""
    number, names = 1, 0  # number of the next line; lines that name the columns
    places: list[int] | None = None
    columns = 0  # of the first line
    delimiter = layout.delimiter or ","
    for lines in _lines(file):
        if places is None:
            delimiter = layout.delimiter or next((each for each in _DELIMITERS if each in lines[0]), ",")
            first = _cells(lines[0], delimiter, number)
            names = int(not all(map(_is_number, first)))
            places, columns = _places(first if names else None, len(first), layout), len(first)
            number, lines = number + names, lines[names:]
        if lines:
            _check_ends(lines, number, delimiter, columns, names)
            yield _numbers(lines, number, delimiter, places, names)
        number += len(lines)


def _lines(file: BinaryIO) -> Iterator[list[str]]:
    """Yield the lines of the file, some at a time. Empty lines at its end are left out."""
    rest, number, blank = b"", 0, 0
    file.seek(0)
    while chunk := file.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > _CHUNK:
            raise MediaError(f"line {number + len(whole) + 1} has over {_CHUNK} characters; this is not a CSV file of numbers")
        lines = [""] * blank + [_text(line, number + place) for place, line in enumerate(whole, 1)]
        number += len(whole)
        blank = next((count for count, line in enumerate(reversed(lines)) if line), len(lines))
        if kept := lines[: len(lines) - blank]:
            yield kept
    if last := _text(rest, number + 1):
        yield [*[""] * blank, last]


def _text(line: bytes, number: int) -> str:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r ")
    except UnicodeDecodeError as error:
        raise MediaError(f"line {number} {not_utf8(line)}") from error
    if "\0" in text:
        raise MediaError(f"line {number} is not text; .npy, .npz, .mat, .csv and .wav files are read")
    return text


def _cells(line: str, delimiter: str, number: int) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        remedy = "; end lines with \\n" if "\r" in line else ""
        raise MediaError(f"line {number} cannot be read as a row of a CSV file{remedy}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _places(names: Sequence[str] | None, count: int, layout: Layout) -> list[int]:
    """Return which columns are the channels. names: of the columns; None if the file does not name them."""
    if layout.columns:
        if names is None:
            raise MediaError(f"the first line does not name the columns; the model takes {listed(layout.columns)}")
        return [place_of(column, names, "column") for column in layout.columns]
    if count != layout.channels:
        shown = f", {listed(names)}" if names else ""
        raise MediaError(
            f"the file has {count} columns{shown}, and the model takes {layout.channels}; name them with columns=NAME/NAME in "
            "the model's input"
        )
    return list(range(count))


def _check_ends(lines: Sequence[str], first: int, delimiter: str, columns: int, names: int) -> None:
    """Raise MediaError if a line has a value after the last column: a decimal comma, for example, would shift the others."""
    for number, line in enumerate(lines, first):
        if line.count(delimiter) >= columns and any(_cells(line, delimiter, number)[columns:]):
            raise MediaError(
                f"line {number} has more values than the {columns} of the first line; write decimal points, and separate "
                "columns by one character",
                offset=number - 1 - names,
            )


def _numbers(lines: Sequence[str], first: int, delimiter: str, places: Sequence[int], names: int) -> Block:
    """Return the numbers of some columns, float64[lines, places].

    first: number of the first line. names: lines before the first step. Raises MediaError that names the line.
    """
    try:
        values = np.loadtxt(lines, dtype=np.float64, delimiter=delimiter, usecols=places, quotechar='"', comments=None, ndmin=2)
        if len(values) == len(lines) and np.isfinite(values).all():
            return values
    except ValueError:
        pass
    for number, line in enumerate(lines, first):
        try:
            _check_line(line, number, delimiter, places)
        except MediaError as error:
            raise MediaError(str(error), offset=number - 1 - names) from error
    raise MediaError(f"lines {first} to {first + len(lines) - 1} are not rows of numbers")


def _check_line(line: str, number: int, delimiter: str, places: Sequence[int]) -> None:
    """Raise MediaError if the line is not a row of numbers, naming what is wrong."""
    cells = _cells(line, delimiter, number)
    if not cells:
        raise MediaError(f"line {number} is empty; a row that is left out would shift all others in time")
    for place in places:
        cell = cells[place] if place < len(cells) else ""
        if not cell:
            raise MediaError(f"line {number} has no value in column {place + 1}; fill it in, or split the file there")
        if not _is_number(cell):
            decimal = "; write decimal points" if _is_number(cell.replace(",", ".")) else ""
            raise MediaError(f"line {number} holds {cell[:60]!r} in column {place + 1}, which is not a number{decimal}")
        if not math.isfinite(float(cell)):
            raise MediaError(f"line {number} holds {cell[:60]!r} in column {place + 1}; fill it in, or split the file there")
