"""Name a file by the first bytes of its content, for people and programs that open it. What reads items asks the content."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection

# A zip of arrays.
_ARRAYS = ".npz"
# Where in a file which bytes are, and the usual suffix of such files. The first that fits counts.
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF8", ".gif"),
    (0, b"BM", ".bmp"),
    (8, b"WEBP", ".webp"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (0, b"II+\0", ".tif"),
    (0, b"MM\0+", ".tif"),
    (0, b"RIFF", ".wav"),
    (0, b"RIFX", ".wav"),
    (0, b"RF64", ".rf64"),
    (0, b"riff", ".w64"),
    (0, b"FORM", ".aiff"),
    (0, b"caff", ".caf"),
    (0, b".snd", ".au"),
    (0, b"NIST_1A", ".sph"),
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (0, b"\x1a\x45\xdf\xa3", ".mkv"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x30\x26\xb2\x75", ".wma"),
    (0, b"\x93NUMPY", ".npy"),
    (0, b"PK\x03\x04", _ARRAYS),
    (0, b"MATLAB", ".mat"),
    (0, b"\xff", ".mp3"),
)
_ANY = ".bin"
_TEXT = ".csv"
# Bytes that tell the kind of a file.
LOOKED_AT = 4096

# How JSON begins, unless it is one number or word; `[g],[m/s]` may be names of columns.
_JSON = re.compile(rb'\s*(?:\{\s*["}]|\[\s*(?:[\[{"]|-?\d[\d.eE+-]*\s*,))')
# What is in code and markup, and not in names of columns; and bytes of the longest name.
_CODE = re.compile(rb"[{}<>]")
_LONGEST_NAME = 64


def suffix_by_content(data: bytes, suffixes: Collection[str]) -> str:
    """Return one of the suffixes of a kind of files, or `.bin` if the content is none that is known."""
    for place, mark, suffix in _MARKS:
        if suffix in suffixes and data[place : place + len(mark)] == mark and (suffix != _ARRAYS or _holds_an_array(data)):
            return suffix
    return _TEXT if _TEXT in suffixes and b"\0" not in data[:LOOKED_AT] else _ANY


def _holds_an_array(data: bytes) -> bool:
    """Return whether the first file in a zip is an array; those of office documents, for example, are others."""
    length = int.from_bytes(data[26:28], "little")  # of its name
    return data[30 : 30 + length].endswith(b".npy")


def is_of_a_kind(start: bytes, suffixes: Collection[str]) -> bool:
    """Return whether a file begins like one of a kind with these suffixes. start: LOOKED_AT bytes, or all of a shorter one.

    A text does if its first line is numbers, or its second has a number in a column: the first may name the columns. If that is
    longer than LOOKED_AT, it has to be numbers or short names. JSON does not.
    """
    suffix = suffix_by_content(start, suffixes)
    return _begins_a_table(start) if suffix == _TEXT else suffix != _ANY


def _begins_a_table(start: bytes) -> bool:
    text = start.removeprefix(codecs.BOM_UTF8)
    if _JSON.match(text):
        return False
    first, _, rest = text.partition(b"\n")
    second = rest.partition(b"\n")[0]
    if not second.strip():
        is_cut_off = len(start) == LOOKED_AT and not rest
        return _may_name_columns(first) if is_cut_off else _has_a_number(first)
    if _is_all_numbers(first):  # in one column it may be the number of a subtitle
        return len(_cells(first)) > 1 or _is_all_numbers(second)
    return _has_a_number(second)


def _may_name_columns(line: bytes) -> bool:
    """Return whether a line that is longer than what is looked at holds numbers, or names: neither sentences nor code."""
    columns = _cells(line)[:-1]
    is_short = bool(columns) and max(map(len, columns)) <= _LONGEST_NAME
    return (is_short and not _CODE.search(line)) or _is_all_numbers(line.rpartition(b" ")[0])


def _has_a_number(line: bytes) -> bool:
    """Return whether one of the columns holds a number; where spaces are between them, all do: else it may be a sentence."""
    has_one = any(_is_number(cell) and _has_digits(cell) for cell in _cells(line))
    return has_one or (_is_all_numbers(line) and _has_digits(line))


def _is_all_numbers(line: bytes) -> bool:
    spaced = line.split()
    return bool(spaced) and (all(map(_is_number, _cells(line))) or all(map(_is_number, spaced)))


def _cells(line: bytes) -> list[bytes]:
    return re.split(rb"[\t;,]", line)


def _has_digits(cell: bytes) -> bool:
    """Return whether it is no word that is read as a number: Infinity, Nan."""
    return re.search(rb"\d", cell) is not None


def _is_number(cell: bytes) -> bool:
    try:
        float(cell.strip(b'" \r'))
    except ValueError:
        return False
    return True
