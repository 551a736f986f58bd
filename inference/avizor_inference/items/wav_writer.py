"""Write WAV files of 16 bits, block by block or at once."""

from __future__ import annotations

import errno
import io
import os
from math import inf
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from avizor_inference.arrays import Samples
from avizor_inference.errors import InvalidInput

# Bytes of samples that a WAV can hold: its sizes are numbers of 32 bits.
_WAV_BYTES = 2**32 - 2**16


class WavWriter:
    """Writes a WAV of 16 bits block by block. What is beyond -1..1 is clipped.

    large: as RF64, which has no limit of size, under the same name.
    """

    def __init__(self, target: Path | BinaryIO, sample_rate: int, channels: int, *, large: bool = False) -> None:
        self._left = inf if large else _WAV_BYTES // (2 * channels)
        format = "RF64" if large else "WAV"
        self._file = soundfile.SoundFile(target, "w", sample_rate, channels, "PCM_16", format=format)

    def write(self, samples: Samples) -> None:
        """Write float32[channels, frames]. Raises InvalidInput for more than a WAV can hold, OSError for a full disk."""
        self._left -= samples.shape[1]
        if self._left < 0:
            raise InvalidInput("a WAV holds at most 4 GiB of samples")
        before = self._file.tell()
        self._file.write(np.clip(np.rint(samples.T * 32768), -32768, 32767).astype(np.int16))
        if self._file.tell() - before != samples.shape[1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def encode_wav(samples: Samples, sample_rate: int) -> bytes:
    """Return a WAV file of float32[channels, frames] at 16 bits. What is beyond -1..1 is clipped."""
    buffer = io.BytesIO()
    writer = WavWriter(buffer, sample_rate, len(samples))
    writer.write(samples)
    writer.close()
    return buffer.getvalue()
