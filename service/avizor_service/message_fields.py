"""Bound what a message unpacks to, before it is parsed: a field of two bytes may take hundreds.

Parts are counted: a field, a number of a list, 32 bytes of text. Sound, pictures and the data of tensors are passed over in one
step, however large they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from avizor_inference.errors import InvalidInput

# A message of no more bytes is not looked at. Whatever it holds, it unpacks to less than 70 times its size (docs/limits.md).
SMALL_BYTES = 8 << 10

# What a part counts for, with its share of what is made of it. protobuf takes up to 132 bytes for one, measured.
PART_BYTES = 100

# The most parts of a message: 40,000 values of rows. Parsing holds up the event loop, and takes up to 0.12 us for a part.
MOST_PARTS = 160_000

# Parts that are counted before others get their turn: about 2 ms.
_PARTS_AT_ONCE = 8192

# A character takes up to four bytes once it is text in Python.
_TEXT_BYTES = 32

# The parser takes no deeper messages, and no longer numbers.
_MOST_DEPTH, _NUMBER_BYTES = 100, 10

_VARINT, _LENGTH = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}


class Fields(dict[int, "Fields | int"]):
    """Holds, by the tag of each field whose inside has parts, the fields of that message, or the bytes of a part."""

    def __init__(self, kind: Any, known: dict[str, Fields] | None = None) -> None:
        """Describe a message by its DESCRIPTOR. known: those that are described already, as some hold themselves."""
        super().__init__()
        self.name = kind.full_name
        self._names: dict[int, str] = {field.number: field.name for field in kind.fields}
        known = {} if known is None else known
        known[kind.full_name] = self
        for field in kind.fields:
            tag = field.number << 3 | _LENGTH
            if field.message_type:
                inner = known.get(field.message_type.full_name)
                self[tag] = Fields(field.message_type, known) if inner is None else inner  # an empty one may not be complete
            elif field.type == FieldDescriptor.TYPE_STRING:
                self[tag] = _TEXT_BYTES
            elif field.type != FieldDescriptor.TYPE_BYTES and field.is_repeated:
                self[tag] = 1

    def name_of(self, tag: int) -> str:
        """Return the name of a field, its number if it is not known."""
        return self._names.get(tag >> 3, str(tag >> 3))


async def count_parts(message: bytes, fields: Fields, most: int) -> int:
    """Return how many parts a message has. Other tasks get their turns meanwhile.

    Raises InvalidInput if there are more than `most`, naming the field, and for what is not in the wire format of protobuf.
    """
    counted = _counted(message, fields, min(most, MOST_PARTS))
    try:
        while (count := next(counted)) < 0:
            await asyncio.sleep(0)
    except (IndexError, KeyError, ValueError) as error:
        raise not_a_message(fields.name) from error
    return count


def not_a_message(name: str) -> InvalidInput:
    """Return the error on what is not a message of this name."""
    return InvalidInput(f"the message is not an {name}; send one in the wire format of protobuf")


def _counted(message: bytes, fields: Fields, most: int) -> Iterator[int]:
    """Yield -1 now and then, and the number of parts at the end. It is one loop without calls, as there may be many parts.

    Raises InvalidInput, and ValueError, IndexError or KeyError for what cannot be read.
    """
    count, place, end = 0, 0, len(message)
    stop = min(_PARTS_AT_ONCE, most)
    around: list[tuple[int, Fields, int]] = []  # the messages around this one: the end, the fields, the tag of this one
    while place < end or around:
        if place >= end:
            if place > end:
                raise ValueError
            end, fields, _ = around.pop()
            continue
        tag = message[place]
        place += 1
        if tag > 127:
            tag, place = _number(message, place - 1)
        count += 1
        if count > stop:
            if count > most:
                raise _too_many(message, most, around, fields, tag)
            yield -1
            stop = min(count + _PARTS_AT_ONCE, most)
        kind = tag & 7
        if kind == _LENGTH:
            size = message[place]
            place += 1
            if size > 127:
                size, place = _number(message, place - 1)
            inside = fields.get(tag)
            if inside is None:
                place += size
            elif isinstance(inside, int):
                place += size
                count += size // inside
                if count > most:
                    raise _too_many(message, most, around, fields, tag)
            else:
                around.append((end, fields, tag))
                if place + size > end or len(around) > _MOST_DEPTH:
                    raise ValueError
                end, fields = place + size, inside
        elif kind == _VARINT:
            place = place + 1 if message[place] < 128 else _number(message, place)[1]
        else:
            place += _FIXED_BYTES[kind]  # there are no groups in avizor.v1
    if place > end:
        raise ValueError
    yield count


def _number(message: bytes, place: int) -> tuple[int, int]:
    """Return a number and the place after it. Raises IndexError at the end of the message, ValueError if it is too long."""
    value = 0
    for shift in range(0, 7 * _NUMBER_BYTES, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError


def _too_many(message: bytes, most: int, around: list[tuple[int, Fields, int]], fields: Fields, tag: int) -> InvalidInput:
    path = ".".join([*(each.name_of(outer) for _, each, outer in around), fields.name_of(tag)])
    return InvalidInput(
        f"the message has more than the {most} parts that one of {len(message)} bytes may have, counted to {path}: a field, a "
        "number of a shape and 32 bytes of text are one each, and a value of a row is four; send fewer items in one request, "
        "and wide rows as tensors",
        field=path,
    )
