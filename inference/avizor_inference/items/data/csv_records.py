"""Find the records of a CSV file, and split one into its values, in memory that does not grow with the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.text_encoding import not_utf8

# Bytes of the longest record, with the lines that are within its quotes. A quote that is never closed ends here, too.
LONGEST_RECORD = 1 << 20

_BOM = b"\xef\xbb\xbf"


def header_of(file: BinaryIO) -> list[str]:
    """Return the names of the columns, and leave the file at the first record. Raises MediaError."""
    file.seek(0)
    for end, record in records(file):
        try:
            names = values_of(record.removeprefix(_BOM))
        except ValueError as error:
            raise MediaError(f"its first line, which names the columns, {error}") from error
        file.seek(end)
        return names
    raise MediaError("the file is empty; its first line names the columns")


def records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield each record from where the file stands on, and where it ends in the file. Empty lines are left out.

    Lines within quotes belong to one record. If that would be longer than LONGEST_RECORD, the line with the quote is a record,
    which cannot be read. Raises MediaError for a line that is longer.
    """
    end = file.tell()
    while line := _line(file):
        end += len(line)
        if b'"' in line and _is_open(line):
            line, end = _closed(file, line, end)
        if line.strip():
            yield end, line


def values_of(record: bytes) -> list[str]:
    """Return the values of a record. Raises ValueError, which says what is wrong with it."""
    try:
        return next(csv.reader([record.decode()], strict=True), [])
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(record)) from error
    except csv.Error as error:
        raise ValueError(f"is not a record of a CSV file ({error})") from error


def _line(file: BinaryIO) -> bytes:
    line = file.readline(LONGEST_RECORD)
    if len(line) == LONGEST_RECORD:
        raise MediaError(f"a line before byte {file.tell()} has over {LONGEST_RECORD} bytes; this is not a CSV file of rows")
    return line


def _closed(file: BinaryIO, first: bytes, end: int) -> tuple[bytes, int]:
    """Return the record that begins with this line, whose last quote is open, and where it ends.

    It is the line alone if what follows makes no record of it: the quote was not meant as one.
    """
    lines, size = [first], len(first)
    while size < LONGEST_RECORD and (line := _line(file)):
        lines.append(line)
        size += len(line)
        if b'"' in line and not _is_open(record := b"".join(lines)):
            if _problem(record):
                break
            return record, end - len(first) + size
    file.seek(end)
    return first, end


def _is_open(text: bytes) -> bool:
    """Return whether the text ends within quotes."""
    return "unexpected end" in _problem(text)


def _problem(text: bytes) -> str:
    """Return what is wrong with the text as CSV; "" if nothing is."""
    try:
        list(csv.reader([text.decode("latin-1")], strict=True))
    except csv.Error as error:
        return str(error)
    return ""
