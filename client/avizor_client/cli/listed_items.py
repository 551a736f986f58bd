"""Find the items that a command line names: files, patterns, the rows of a table, standard input."""

from __future__ import annotations

import csv
import glob
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from avizor_client.answers import Model
from avizor_client.cli.table_rows import NotATable, WrongRow, rows_of
from avizor_client.errors import InputError
from avizor_client.files import MOST_BYTES, lacks_open_files, read_file, read_up_to, unreadable
from avizor_client.items import Item, check_array

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class SourceColumn:
    """The column of a table that names the source of each row."""

    name: str


# The source of all files, what is searched in the path of each, or a column of tables.
Rule = str | re.Pattern[str] | SourceColumn
_WAYS = ("--source", "--source-pattern", "--source-column")


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
        if Path(path).is_dir():
            raise click.BadParameter(f"{path} is a folder; name its files, for example with '{path}/*'", param_hint="FILES")
    return paths


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute patterns


def source_rule(source: str, pattern: str, column: str) -> Rule:
    """Return what says the source of an item: a name, a pattern with a group, or a column. Raises BadParameter."""
    given = [name for name, value in zip(_WAYS, (source, pattern, column), strict=True) if value]
    if len(given) > 1:
        raise click.BadParameter(f"{' and '.join(given)} are given; give one of them alone", param_hint=given[0])
    if not pattern:
        return SourceColumn(column) if column else source
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise click.BadParameter(f"not a regular expression: {error}", param_hint="--source-pattern") from error
    if not compiled.groups:
        raise click.BadParameter("has no group; put the source in parentheses", param_hint="--source-pattern")
    return compiled


def listed_items(paths: Sequence[str], model: Model, rule: Rule, *, mix_channels: bool) -> Iterator[Listed | Unreadable]:
    """Yield the items of files; each row of a CSV file for a model of tables.

    Raises InputError for a file that is no CSV, or a column of sources where there are no tables.
    """
    if isinstance(rule, SourceColumn) and model.input_kind != "table":
        raise InputError(f"--source-column is for tables, and {model.name} takes none; use --source or --source-pattern")
    for path in paths:
        if problem := _problem(path) or _problem_of_array(path, model):
            yield Unreadable(path, problem)
            continue
        if model.input_kind == "table" and not path.endswith(".npy"):
            yield from _rows(path, model, rule)
        elif isinstance(rule, SourceColumn):
            yield Unreadable(path, "an array has no columns, and --source-column names one; use --source")
        else:
            yield Listed(path, Item(_content(path), _source(path, rule), mix_channels))


def _content(path: str) -> Path | bytes:
    """Return a file as it is sent. The bytes of a pipe are read now, once: items are asked for again if one is too large.

    Raises InputError.
    """
    if path == STANDARD_INPUT:
        data = read_up_to(sys.stdin.buffer, MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InputError(f"standard input has more than {MOST_BYTES >> 20} MiB; send less, or use a batch job")
        return data
    file = Path(path)
    return read_file(file) if file.is_fifo() and file.suffix.lower() != ".npy" else file


def _problem(path: str) -> str:
    """Return why a file cannot be sent; "" if it can. Nothing is read: a pipe has its bytes only once.

    Raises InputError where the fault is none of the file.
    """
    if path == STANDARD_INPUT or Path(path).is_fifo():
        return ""
    if Path(path).is_char_device() or Path(path).is_block_device():
        return "it is a device, and no file"
    try:
        with Path(path).open("rb") as file:
            is_large = os.fstat(file.fileno()).st_size > MOST_BYTES
    except OSError as error:
        if lacks_open_files(error):
            raise unreadable(path, error) from error
        return error.strerror or str(error)
    return f"it has more than {MOST_BYTES >> 20} MiB; use a batch job" if is_large else ""


def _problem_of_array(path: str, model: Model) -> str:
    """Return why a .npy file cannot be sent; "" if it can, or is no such file. A pipe is not read."""
    file = Path(path)
    if file.suffix.lower() == ".npy" and model.input_kind != "signal" and file.is_file():
        try:
            check_array(file)
        except InputError as error:
            return str(error).removeprefix(f"{path}: ")
    return ""


def _source(path: str, rule: Rule) -> str:
    """Return the source of a file; "" if it says none, or its rows do."""
    if isinstance(rule, SourceColumn):
        return ""
    if isinstance(rule, str):
        return rule
    match = rule.search(Path(path).as_posix())
    return (match[1] or "") if match else ""


def _rows(path: str, model: Model, rule: Rule) -> Iterator[Listed | Unreadable]:
    """Yield the rows of a CSV file; of one that lacks a column, the file. Raises InputError for a file that is no CSV."""
    is_standard = path == STANDARD_INPUT
    source, column = _source(path, rule), rule.name if isinstance(rule, SourceColumn) else ""
    try:
        with open(0 if is_standard else path, encoding="utf-8-sig", newline="", closefd=not is_standard) as lines:
            for number, row in enumerate(rows_of(lines, model, column)):
                name = f"{path}, row {number}"
                if isinstance(row, WrongRow):
                    yield Unreadable(name, row.problem)
                else:
                    yield Listed(name, Item(row.cells, row.source or source))
    except NotATable as error:
        yield Unreadable(path, str(error))
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {_not_utf8(path)}") from error
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); name another file") from error


def _not_utf8(path: str) -> str:
    """Return that a table is not in UTF-8, and how to convert it. avizor_inference has the same."""
    made = str(Path(path).with_suffix("")) + "-utf8" + Path(path).suffix
    command = f"iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(path)} > {shlex.quote(made)}"
    return f"is not in UTF-8; if a program of Windows such as Excel wrote it, convert it with `{command}`"
