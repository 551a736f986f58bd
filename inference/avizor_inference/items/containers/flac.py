"""FLAC: https://www.rfc-editor.org/rfc/rfc9639 (8.2, STREAMINFO)."""

from __future__ import annotations

from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import before_tags

# `fLaC`, the head of the first block, and the block, which is STREAMINFO: bytes.
_HEAD = 4 + 4 + 34
# The lowest 36 bits of these eight bytes of the head are the number of samples; 0 is "unknown", as streams are written.
_SAMPLES = slice(18, 26)
_SAMPLES_MASK = 2**36 - 1


def flac_stream(file: BinaryIO, start: int, size: int) -> Stream:
    """All frames up to the file's end. The decoder is told that their number is unknown, or it would stop at that number."""
    head = bytearray(read_at(file, start, _HEAD))
    if len(head) < _HEAD or head[4] & 0x7F:
        raise MediaError("not a FLAC file that can be read (it does not begin with STREAMINFO)")
    field = int.from_bytes(head[_SAMPLES], "big")
    head[_SAMPLES] = (field & ~_SAMPLES_MASK).to_bytes(8, "big")
    end = before_tags(file, start + _HEAD, size)
    return Stream(start + _HEAD, end, bytes(head), least_frames=field & _SAMPLES_MASK)
