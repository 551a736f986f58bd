"""Say in words which columns a table lacks, which of those that it has was perhaps meant, and how to convert a table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from avizor_inference.error_text import one_line
from avizor_inference.items.text_encoding import not_utf8

_OTHER_SEPARATORS = (";", "\t", "|")

# Of a table with very many columns so many are named.
_MOST_NAMED = 30


def no_columns(missing: Sequence[str], existing: Sequence[str]) -> str:
    """Return, for a message, which columns of a model a table lacks, and why that may be."""
    return f"no column {_quoted(missing)}; {_other_separator(existing) or _named(existing) + _similar_names(missing, existing)}"


def no_such_column(missing: Sequence[str], existing: Sequence[str]) -> str:
    """Return, for a message, which columns a table lacks that a person has named, those that it has, and the nearest."""
    by_text = {name.casefold(): name for name in reversed(existing)}
    nearest = [by_text[each] for name in missing for each in get_close_matches(name.casefold(), by_text, 1)]
    meant = f"; did you mean {_quoted(nearest)}?" if nearest else ""
    return f"no column {_quoted(missing)}; {_other_separator(existing) or _named(existing) + meant}"


def other_separator_of(first_line: bytes) -> str:
    """Return what separates the columns of a table instead of commas, by its first line; "" if commas may."""
    if b"," in first_line:
        return ""
    return next((mark for mark in _OTHER_SEPARATORS if mark.encode() in first_line), "")


def why_unreadable(path: Path, first_line: bytes, error: Exception) -> str:
    """Return, for a message, why a table could not be read: with decimal commas a row has more columns than its header."""
    suffix = path.suffix.lower()
    if b"\0" in first_line and suffix == ".csv":
        return f"it {not_utf8(first_line, path)}"
    separator = other_separator_of(first_line) if suffix == ".csv" else ""
    return _to_convert(separator) if separator else f"cannot be read as {suffix[1:]}: {one_line(error)}"


def conversion(separator: str, table: str = "TABLE.csv") -> str:
    """Return a command that writes a table with commas and decimal points, in UTF-8, which its readers take.

    A number with a decimal comma becomes one with a point, and loses the points of its thousands; all other texts stay. Bytes
    that are not in UTF-8 are read as Excel writes them.
    """
    code = (
        "import codecs, csv, re, sys; codecs.register_error('excel', "
        "lambda e: (e.object[e.start:e.end].decode('cp1252'), e.end)); "
        "sys.stdin.reconfigure(encoding='utf-8-sig', errors='excel'); "
        "sys.stdout.reconfigure(encoding='utf-8', newline=''); "
        r"csv.writer(sys.stdout).writerows([v.replace('.', '').replace(',', '.') if re.fullmatch(r'[+-]?[\d.]+,\d+', v) else v "
        f"for v in row] for row in csv.reader(sys.stdin, delimiter={separator!r}))"
    )
    made = f"{table.removesuffix('.csv')}-commas.csv"
    return f'python -c "{code}" < {shlex.quote(table)} > {shlex.quote(made)}'


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _named(existing: Sequence[str]) -> str:
    more = len(existing) - _MOST_NAMED
    return f"it has {', '.join(existing[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _other_separator(existing: Sequence[str]) -> str:
    """Return what to do about a table whose columns look separated by something else than commas; "" if they do not."""
    separator = next((mark for mark in _OTHER_SEPARATORS if len(existing) == 1 and mark in existing[0]), None)
    if not separator:
        return ""
    return _to_convert(separator)


def _to_convert(separator: str) -> str:
    return f"its columns look separated by {separator!r}; tables are read with commas, so convert it: {conversion(separator)}"


def _similar_names(missing: Sequence[str], existing: Sequence[str]) -> str:
    """Return, as text, which columns differ from missing ones only by spaces or capitals."""
    alike = {name.strip().casefold(): name for name in existing}
    pairs = [(name, alike[name.strip().casefold()]) for name in missing if name.strip().casefold() in alike]
    return "".join(f"; {similar!r} is not {name!r}: rename it" for name, similar in pairs)
