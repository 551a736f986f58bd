"""Print what a gateway answers: as a table for people, or as JSON with one object a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
import numpy as np

from avizor_client.answers import Span

_WIDEST = 72  # characters of a name in a table; longer ones move their line


def printable(text: str) -> str:
    """Return a text without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def print_line(cells: Sequence[str], widths: Sequence[int] = ()) -> None:
    """Print cells as one line of a table. widths: of the first columns."""
    padded = [printable(cell).ljust(width) for cell, width in zip(cells, widths, strict=False)]
    rest = [printable(cell) for cell in cells[len(padded) :]]
    click.echo("  ".join([*padded, *rest]).rstrip())


def width(names: Sequence[str]) -> int:
    """Return how wide a column of names is."""
    return min(max((len(printable(name)) for name in names), default=0), _WIDEST)


def counted(count: int, noun: str) -> str:
    """Return a number of things whose plural has an `s`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def where(span: Span) -> str:
    """Return the place of a window, with its channel unless that is the first one."""
    channel = f", channel {span.channel}" if span.channel else ""
    return f"{span.start_s:.2f}-{span.end_s:.2f} s{channel}"


def judges(source: str) -> str:
    """Return a verdict's `judged_by` in words."""
    return f"compared with {'all sources together' if source == '*' else f'source {printable(source)}'}"


def print_json(fields: Mapping[str, Any]) -> None:
    """Print one object as one line. Numbers that JSON does not have (NaN, infinity) are null."""
    click.echo(json.dumps(plain(fields), allow_nan=False))


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as objects, arrays as lists, times as ISO 8601."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_unicode(str(name)): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return _unicode(value) if isinstance(value, str) else value


def _unicode(text: str) -> str:
    """Return a text whose characters all exist: names of files may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
