"""Containers that are one header and then the sound: AU, and NIST SPHERE."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at

_AU_UNKNOWN = 0xFFFFFFFF
_AU_HEAD = struct.Struct(">4sII")

_NIST_LONGEST = 2**16  # bytes of a header; they are 1024 as a rule


def au_stream(file: BinaryIO, size: int) -> Stream:
    """A file of Sun's: its size of sound has to be what follows, unless it is given as unknown. Raises MediaError."""
    head = read_at(file, 0, _AU_HEAD.size)
    if len(head) < _AU_HEAD.size:
        raise MediaError("the file ends within its header")
    _, offset, claimed = _AU_HEAD.unpack(head)
    if claimed != _AU_UNKNOWN:
        _check_size("AU", claimed, max(0, size - offset))
    return Stream(0, size)


def nist_stream(file: BinaryIO, size: int) -> Stream:
    """A file of NIST's, whose header is text. Raises MediaError."""
    fields = re.match(rb"NIST_1A\s+(\d{1,9})\s", read_at(file, 0, 32))
    length = int(fields[1]) if fields else 0
    if not 0 < length <= _NIST_LONGEST:
        raise MediaError("the NIST header does not say how long it is")
    header = read_at(file, 0, length)
    samples, channels = _nist_field(header, b"sample_count", 0), _nist_field(header, b"channel_count", 1)
    width = _nist_field(header, b"sample_n_bytes", 1)  # left out for the one byte of A-law and mu-law
    _check_size("NIST", samples * channels * width, max(0, size - length))
    return Stream(0, size)


def _nist_field(header: bytes, name: bytes, otherwise: int) -> int:
    found = re.search(name + rb" -i (\d{1,18})\s", header)
    return int(found[1]) if found else otherwise


def _check_size(kind: str, claimed: int, there: int) -> None:
    """Raise MediaError where a header's number of bytes of sound is not that of the file."""
    if claimed > there:
        raise MediaError(f"the file was cut off: its {kind} header says {claimed} bytes of sound, and {there} are there")
    if claimed < there:
        raise MediaError(
            f"the {kind} header says {claimed} bytes of sound, and {there} are there: it was never finished, or the file was "
            "appended to; write the file anew with a header that fits"
        )
