"""Damage bytes and messages, the same way in every run: what a broken or hostile client may send.

`damaged` changes bytes and knows nothing of them. `changed` changes fields of a message by its descriptor: what it returns can
be parsed. `rewired` changes the fields of an encoded message as they are on the wire.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

# Names that mean something to a gateway of the tests, and some that mean nothing to any.
WORDS = (
    *("", "digits", "kinds", "normal", "transfers", "pumps", "a", "b", "pump", "*", "default"),
    *("probabilities", "embedding", "activations", "score", "error_map", "reconstruction", "image", "waveform"),
    *("amount", "hour", "country", "FR", "uint8", "float32", "float64", "int64", "object", "S8"),
    *("\0", "../../etc/passwd", "models/digits", "x" * 5000, "é\U0001f600\u202e", "-1", "NaN", "%s%n", 'a"b\n'),
)
WHOLE = (0, 1, -1, 2, 3, 7, 32, 255, 4096, 8000, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63), 2**64 - 1)
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 0.05, 1.5, 5e-324, 1e-30, 1e39, -1e308, math.inf, -math.inf, math.nan)
_LONGEST = 200_000  # bytes of one field
_MOST = 300  # of a repeated field; more than a gateway takes items

_LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


def damaged(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """Change bytes at up to `most` places: flip bits, cut, insert, repeat, exchange, overwrite. Half of them near the start."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        size = len(changed)
        at = rng.randrange(min(size, 64) if rng.random() < 0.5 else size) if size else 0
        length = min(int(2 ** rng.uniform(0, 10)), size - at)
        kind = rng.randrange(8)
        if kind <= 1 and size:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = rng.randbytes(rng.randint(1, 64))
        elif kind == 5:
            changed[at:at] = changed[at : at + length]
        elif kind == 6:
            changed[at : at + length], changed[:length] = changed[:length], changed[at : at + length]
        else:
            changed[at : at + length] = rng.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
    return bytes(changed[:_LONGEST])


def changed(message: Message, rng: random.Random) -> Message:
    """Return a copy in which a few fields, at any depth, have other values. It can be serialised and parsed."""
    copy = type(message)()
    copy.CopyFrom(message)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _change(_part(copy, rng), rng)
    return copy


def rewired(encoded: bytes, rng: random.Random) -> bytes:
    """Return an encoded message whose fields are repeated, exchanged, renumbered, mistyped, or claim another length."""
    fields = list(_fields(encoded)) or [b""]
    at, other = rng.randrange(len(fields)), rng.randrange(len(fields))
    kind = rng.randrange(7)
    if kind == 0:
        fields.insert(other, fields[at])
    elif kind == 1:
        fields[at], fields[other] = fields[other], fields[at]
    elif kind == 2:
        fields[at] = bytes([rng.randrange(256)]) + fields[at][1:]  # another number or type
    elif kind == 3:
        fields[at] = fields[at][:1] + _varint(rng.choice((2**7, 2**21, 2**31 - 1, 2**32, 2**63))) + fields[at][2:]
    elif kind == 4:
        fields.append(_nested(rng.choice((2, 20, 99, 101, 5000))))
    elif kind == 5:
        fields.append(b"\x0b" * rng.choice((1, 50, 200)))  # groups that do not end
    else:
        fields.append(b"\xfa\x7f" + _varint(30) + rng.randbytes(30))  # a field that nobody knows
    return b"".join(fields)


def is_parsed(kind: type[Message], encoded: bytes) -> bool:
    """Return whether bytes are a message of a kind."""
    try:
        kind.FromString(encoded)
    except DecodeError:
        return False
    return True


def _part(message: Message, rng: random.Random) -> Message:
    """Return the message or, at any depth, one in it."""
    while True:
        inner: list[Message] = []
        for field, value in message.ListFields():
            if field.message_type is not None:
                inner += _values(field, value)
        if not inner or rng.random() < 0.3:
            return message
        message = rng.choice(inner)


def _values(field: FieldDescriptor, value: Any) -> list[Message]:
    if not field.is_repeated:
        return [value]
    if not _is_map(field):
        return list(value)
    return list(value.values()) if _value_field(field).message_type else []


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _value_field(field: FieldDescriptor) -> FieldDescriptor:
    """Return the field of the values of a map."""
    assert field.message_type is not None  # it is a map
    return field.message_type.fields_by_name["value"]


def _change(message: Message, rng: random.Random) -> None:
    if not message.DESCRIPTOR.fields:
        return
    field: FieldDescriptor = rng.choice(cast("list[FieldDescriptor]", list(message.DESCRIPTOR.fields)))
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif _is_map(field):
        _change_map(getattr(message, field.name), _value_field(field), rng)
    elif field.is_repeated:
        _change_repeated(getattr(message, field.name), field, rng)
    elif field.message_type:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _change(inner, rng)
    else:
        setattr(message, field.name, _value(field, rng, getattr(message, field.name)))


def _change_map(values: Any, field: FieldDescriptor, rng: random.Random) -> None:
    name = rng.choice(WORDS)
    if field.message_type:
        _change(values[name], rng)  # it is there from now on
    else:
        values[name] = _value(field, rng, values.get(name))


def _change_repeated(values: Any, field: FieldDescriptor, rng: random.Random) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        values.reverse()
    elif kind == 1 and values:
        values.extend(list(values) * rng.choice((1, 1, 1, 1, 5, _MOST)))
        del values[_MOST:]
    elif field.message_type:
        _change(values.add(), rng)
    elif values and kind == 2:
        at = rng.randrange(len(values))
        values[at] = _value(field, rng, values[at])
    else:
        values.append(_value(field, rng, None))


def _value(field: FieldDescriptor, rng: random.Random, before: Any) -> Any:
    """Return another value for a field that holds no message."""
    if field.cpp_type in _LIMITS:
        least, largest = _LIMITS[field.cpp_type]
        return min(max(rng.choice(WHOLE), least), largest)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice(REAL)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(WORDS)
    choices = (b"", rng.randbytes(rng.randint(1, 300)), bytes(rng.choice((1, 4096, 16384))), damaged(before or b"", rng))
    return rng.choice((*choices, choices[-1], choices[-1]))


def _fields(encoded: bytes) -> Iterator[bytes]:
    """Yield the fields of an encoded message, each with its number; the rest as one if it is in no order."""
    at = 0
    while at < len(encoded):
        start, kind = at, encoded[at] & 7
        _, at = _read_varint(encoded, at)
        if kind == 0:
            _, at = _read_varint(encoded, at)
        elif kind == 2:
            length, at = _read_varint(encoded, at)
            at += length
        else:
            at += {1: 8, 5: 4}.get(kind, len(encoded))
        yield encoded[start:at]


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(encoded):
        value |= (encoded[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if encoded[at - 1] < 0x80:
            break
    return value, at


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _nested(depth: int) -> bytes:
    """Return field 3 within field 3, and so on: in a request the items, and what is in them."""
    encoded = b""
    for _ in range(depth):
        encoded = b"\x1a" + _varint(len(encoded)) + encoded
    return encoded
