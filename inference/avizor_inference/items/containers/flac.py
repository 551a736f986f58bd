"""Read FLAC files: https://www.rfc-editor.org/rfc/rfc9639 (8.2, STREAMINFO)."""

from __future__ import annotations

from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import before_tags

# Bytes of `fLaC`, of the head of the first block, and of that block, which is STREAMINFO.
_HEAD = 4 + 4 + 34
# The lowest 36 bits of these eight bytes of the head are the number of samples; 0 means "unknown", for live streams.
_SAMPLES = slice(18, 26)
_SAMPLES_MASK = 2**36 - 1


def flac_stream(file: BinaryIO, start: int, size: int) -> Stream:
    """Return the stream of all frames up to the end of the file. Raises MediaError if STREAMINFO is missing.

    The number of samples in the head is replaced by "unknown", because the decoder would stop at that number.
    """
    head = bytearray(read_at(file, start, _HEAD))
    if len(head) < _HEAD or head[4] & 0x7F:
        raise MediaError("not a FLAC file that can be read (it does not begin with STREAMINFO)")
    field = int.from_bytes(head[_SAMPLES], "big")
    head[_SAMPLES] = (field & ~_SAMPLES_MASK).to_bytes(8, "big")
    end = before_tags(file, start + _HEAD, size)
    return Stream(start + _HEAD, end, bytes(head), min_frames=field & _SAMPLES_MASK)
