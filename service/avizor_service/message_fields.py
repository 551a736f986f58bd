"""Count the fields of a message before it is parsed: a small message may unpack to thirty times its size."""

from __future__ import annotations

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def count_of_field(message: bytes, number: int, most: int) -> int:
    """Return how often a field is in a message in the wire format of protobuf; what is over `most` is not counted further.

    What cannot be read ends the count: the parser says what is wrong.
    """
    count, place = 0, 0
    try:
        while place < len(message) and count <= most:
            tag, place = _varint(message, place)
            count += tag >> 3 == number
            place = _after(message, place, tag & 7)
    except (IndexError, KeyError):
        pass
    return count


def _after(message: bytes, place: int, kind: int) -> int:
    """Return the place after a value."""
    if kind == _VARINT:
        return _varint(message, place)[1]
    if kind == _BYTES:
        size, place = _varint(message, place)
        return place + size
    return place + _FIXED_BYTES[kind]


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return a number and the place after it. Raises IndexError at the end of the message."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
