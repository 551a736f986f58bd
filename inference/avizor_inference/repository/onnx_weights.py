"""Load an ONNX file without its weights, in memory that does not grow with them.

An ONNX file is a message of Protocol Buffers: fields one after the other, each a number and a content that may be a message
itself (https://protobuf.dev/programming-guides/encoding/). Nearly all bytes of a model are in the data of its initializers.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import onnx

# Numbers of fields in onnx.proto.
_GRAPH, _INITIALIZER = 7, 5
_DATA = (
    4,
    5,
    6,
    7,
    9,
    10,
    11,
)  # of a tensor: float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data

# Smaller initializers keep their data: zero points of a quantised graph are looked at.
_SMALL_BYTES = 256 * 2**10

# Kinds of content.
_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5


class _Field(NamedTuple):
    """Says where a field is: it begins with its number at `start`; its content is from `begin` to `end`."""

    number: int
    kind: int
    start: int
    begin: int
    end: int


def load_without_weights(path: Path) -> onnx.ModelProto:
    """Load a model; large initializers have their name, type and shape alone. What is no such message is loaded as it is.

    Raises OSError, ValueError, google.protobuf.message.DecodeError.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            text = _changed(content, 0, len(content), _GRAPH, _without_data)
    except (ValueError, IndexError):  # onnx says what is wrong with it
        return onnx.load(path, load_external_data=False)
    return onnx.ModelProto.FromString(text)


def _without_data(content: mmap.mmap, graph: _Field) -> bytes:
    return _changed(content, graph.begin, graph.end, _INITIALIZER, _small)


def _small(content: mmap.mmap, tensor: _Field) -> bytes:
    if tensor.end - tensor.begin <= _SMALL_BYTES:
        return content[tensor.begin : tensor.end]
    kept = (field for field in _fields(content, tensor.begin, tensor.end) if field.number not in _DATA)
    return b"".join(content[field.start : field.end] for field in kept)


def _changed(content: mmap.mmap, begin: int, end: int, number: int, change: Callable[[mmap.mmap, _Field], bytes]) -> bytes:
    """Return a message, all messages in whose fields of this number are changed."""
    parts = []
    for field in _fields(content, begin, end):
        if (field.number, field.kind) == (number, _MESSAGE):
            changed = change(content, field)
            parts += [_varint(number << 3 | _MESSAGE), _varint(len(changed)), changed]
        else:
            parts.append(content[field.start : field.end])
    return b"".join(parts)


def _fields(content: mmap.mmap, begin: int, end: int) -> Iterator[_Field]:
    """Yield the fields of the message in a part of the content. Raises ValueError, IndexError if it is none."""
    at = begin
    while at < end:
        start = at
        tag, at = _read_varint(content, at)
        kind = tag & 7
        if kind == _MESSAGE:
            size, at = _read_varint(content, at)
        elif kind == _VARINT:
            size = _read_varint(content, at)[1] - at
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        first, at = at, at + size
        if at > end:
            raise ValueError("a field that goes beyond its message")
        yield _Field(tag >> 3, kind, start, first, at)


def _read_varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """Return the number at a place, and where it ends. Raises ValueError, IndexError if there is none."""
    value = shift = 0
    while shift < 64:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)
