"""Read containers that are one header followed by the sound: AU and NIST SPHERE."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at

_AU_UNKNOWN = 0xFFFFFFFF
_AU_HEAD = struct.Struct(">4sII")

_NIST_LONGEST = 2**16  # bytes of a header; usually 1024


def au_stream(file: BinaryIO, size: int) -> Stream:
    """Return the stream of an AU file (Sun).

    Raises MediaError unless the header's size of the sound is the size of the data after it, or is marked as unknown.
    """
    head = read_at(file, 0, _AU_HEAD.size)
    if len(head) < _AU_HEAD.size:
        raise MediaError("the file ends within its header")
    _, offset, claimed = _AU_HEAD.unpack(head)
    if claimed != _AU_UNKNOWN:
        _check_size("AU", claimed, max(0, size - offset))
    return Stream(0, size)


def nist_stream(file: BinaryIO, size: int) -> Stream:
    """Return the stream of a NIST SPHERE file, whose header is text. Raises MediaError."""
    fields = re.match(rb"NIST_1A\s+(\d{1,9})\s", read_at(file, 0, 32))
    length = int(fields[1]) if fields else 0
    if not 0 < length <= _NIST_LONGEST:
        raise MediaError("the NIST header does not say how long it is")
    header = read_at(file, 0, length)
    samples, channels = _nist_field(header, b"sample_count", 0), _nist_field(header, b"channel_count", 1)
    width = _nist_field(header, b"sample_n_bytes", 1)  # absent for A-law and mu-law, which have one byte
    _check_size("NIST", samples * channels * width, max(0, size - length))
    return Stream(0, size)


def _nist_field(header: bytes, name: bytes, default: int) -> int:
    field = re.search(name + rb" -i (\d{1,18})\s", header)
    return int(field[1]) if field else default


def _check_size(kind: str, claimed: int, actual: int) -> None:
    """Raise MediaError if the number of bytes of sound in the header is not the actual one."""
    if claimed > actual:
        raise MediaError(f"the file was cut off: its {kind} header says {claimed} bytes of sound, but it has {actual}")
    if claimed < actual:
        raise MediaError(
            f"the {kind} header says {claimed} bytes of sound, but the file has {actual}: it was never finished, or the file "
            "was appended to; write the file again with a correct header"
        )
