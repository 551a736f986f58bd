"""Find the items that a command line names: files, patterns, the rows of a table, standard input."""

from __future__ import annotations

import csv
import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from avizor_client.answers import Model
from avizor_client.errors import InputError
from avizor_client.files import MOST_BYTES
from avizor_client.items import Item

STANDARD_INPUT = "-"

Row = dict[str, float | str | bool | None]
Rule = re.Pattern[str] | str  # the source of all files, or what is searched in the path of each


@dataclass(frozen=True)
class Listed:
    """An item with its name: the path of a file, for a row with its number, from 0."""

    name: str
    item: Item


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be read, and why."""

    name: str
    problem: str


def expand(patterns: Sequence[str]) -> list[str]:
    """Return the paths that are named, in order: a pattern that no shell has expanded is expanded here. Raises BadParameter."""
    paths: list[str] = []
    for pattern in patterns:
        if pattern == STANDARD_INPUT or Path(pattern).is_file() or not (found := _matches(pattern)):
            paths.append(pattern)
        else:
            paths += found
    for path in paths:
        if not path:
            raise click.BadParameter("one is empty; name a file", param_hint="FILES")
        if Path(path).is_dir():
            raise click.BadParameter(f"{path} is a folder; name its files, for example with '{path}/*'", param_hint="FILES")
    return paths


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute patterns


def source_rule(source: str, pattern: str) -> Rule:
    """Return what says the source of a file: one name, or a pattern whose first group is searched. Raises BadParameter."""
    if not pattern:
        return source
    if source:
        raise click.BadParameter("--source and --source-pattern are given; leave one of them out", param_hint="--source")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise click.BadParameter(f"not a regular expression: {error}", param_hint="--source-pattern") from error
    if not compiled.groups:
        raise click.BadParameter("has no group; put the source in parentheses", param_hint="--source-pattern")
    return compiled


def listed_items(paths: Sequence[str], model: Model, rule: Rule, *, mix_channels: bool) -> Iterator[Listed | Unreadable]:
    """Yield the items of files; each row of a CSV file for a model of tables. Raises InputError for a row that is none."""
    for path in paths:
        if problem := _problem(path):
            yield Unreadable(path, problem)
            continue
        source = _source(path, rule)
        if model.input_kind == "table" and not path.endswith(".npy"):
            for number, row in enumerate(_rows(path, _numbers(model))):
                yield Listed(f"{path}, row {number}", Item(row, source))
        else:
            content = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path)
            yield Listed(path, Item(content, source, mix_channels))


def _problem(path: str) -> str:
    """Return why a file cannot be sent; "" if it can. Its bytes are read when it is sent: a pipe has them only once."""
    if path == STANDARD_INPUT or Path(path).is_fifo():
        return ""
    if Path(path).is_char_device() or Path(path).is_block_device():
        return "it is a device, and no file"
    try:
        with Path(path).open("rb") as file:
            is_large = os.fstat(file.fileno()).st_size > MOST_BYTES
    except OSError as error:
        return error.strerror or str(error)
    return f"it has more than {MOST_BYTES >> 20} MiB; use a batch job" if is_large else ""


def _source(path: str, rule: Rule) -> str:
    if isinstance(rule, str):
        return rule
    match = rule.search(Path(path).as_posix())
    return (match[1] or "") if match else ""


def _numbers(model: Model) -> set[str]:
    """Return the names of the columns that hold numbers."""
    return {column["name"] for column in model.input["columns"] if not column.get("categories")}


def _rows(path: str, numbers: set[str]) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header. Columns are separated by what the header has: a tab, `;` or a comma."""
    try:
        with open(
            0 if path == STANDARD_INPUT else path, encoding="utf-8-sig", newline="", closefd=path != STANDARD_INPUT
        ) as lines:
            header = next(lines, "")
            delimiter = next((each for each in "\t;," if each in header), ",")
            names = next(csv.reader([header], delimiter=delimiter), [])
            for row in csv.DictReader(lines, names, delimiter=delimiter):
                yield {name: _value(text, name in numbers, path) for name, text in row.items() if isinstance(text, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); name another file") from error


def _value(text: str, is_number: bool, path: str) -> float | str | None:
    if not text.strip():
        return None  # a missing value
    if not is_number:
        return text
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{path}: {text!r} is in a column of numbers; write a number, or nothing for a missing one") from error
