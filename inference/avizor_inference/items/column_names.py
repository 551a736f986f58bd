"""Say in words which columns a table lacks, and which of those that it has was perhaps meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

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


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _named(existing: Sequence[str]) -> str:
    more = len(existing) - _MOST_NAMED
    return f"it has {', '.join(existing[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _other_separator(existing: Sequence[str]) -> str:
    """Return what to do about a table whose columns look separated by something else than commas; "" if they do not."""
    separator = next((mark for mark in _OTHER_SEPARATORS if len(existing) == 1 and mark in existing[0]), None)
    return f"its columns look separated by {separator!r}; separate them by commas" if separator else ""


def _similar_names(missing: Sequence[str], existing: Sequence[str]) -> str:
    """Return, as text, which columns differ from missing ones only by spaces or capitals."""
    alike = {name.strip().casefold(): name for name in existing}
    pairs = [(name, alike[name.strip().casefold()]) for name in missing if name.strip().casefold() in alike]
    return "".join(f"; {similar!r} is not {name!r}: rename it" for name, similar in pairs)
