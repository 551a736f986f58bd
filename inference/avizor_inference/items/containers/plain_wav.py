"""Read WAV files of 16-bit PCM with a plain header by themselves, which takes less time than the decoder.

The samples are those that libsndfile decodes, bit for bit. Whatever is not as expected in the 44 bytes of the header is left to
the other readers, which know what to make of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.items.containers.stream import read_at

# RIFF, size of the rest, WAVE; fmt, its size, tag, channels, Hz, bytes a second, bytes a frame, bits a sample; data, its size.
HEADER = struct.Struct("<4sI4s 4sIHHIIHH 4sI")
_PCM = 1
_UNIT = np.float32(2**-15)  # of a full scale of 1


class PlainWav(NamedTuple):
    """Describes the sound of such a file."""

    sample_rate: int  # Hz
    channels: int
    frames: int

    def blocks(self, file: BinaryIO, frames: int, first: int = 0) -> Iterator[Samples]:
        """Yield float32[frames, channels], at most `frames` at a time; less in all if the file has become shorter.

        first: the frame from which to read. Raises OSError.
        """
        frame_bytes = 2 * self.channels
        file.seek(HEADER.size + first * frame_bytes)
        left = self.frames - first
        while left and (data := file.read(min(frames, left) * frame_bytes)):
            whole = len(data) // frame_bytes
            levels = np.frombuffer(data, "<i2", whole * self.channels).reshape(whole, self.channels)
            samples = levels.astype(np.float32)
            samples *= _UNIT
            yield samples
            left -= whole


def plain_wav(file: BinaryIO, size: int) -> PlainWav | None:
    """Return what the header of a file of `size` bytes says, or None if it is not such a file. Raises OSError."""
    head = read_at(file, 0, HEADER.size)
    if len(head) < HEADER.size or size == HEADER.size:
        return None
    riff, rest, wave, fmt, fmt_size, tag, channels, rate, byte_rate, frame_bytes, bits, data, data_bytes = HEADER.unpack(head)
    is_plain = (
        (riff, wave, fmt, data) == (b"RIFF", b"WAVE", b"fmt ", b"data")
        and (fmt_size, tag, bits) == (16, _PCM, 16)
        and (rest, data_bytes) == (size - 8, size - HEADER.size)
        and channels > 0
        and (frame_bytes, byte_rate) == (2 * channels, 2 * channels * rate)
        and data_bytes % frame_bytes == 0
    )
    return PlainWav(rate, channels, data_bytes // frame_bytes) if is_plain else None
