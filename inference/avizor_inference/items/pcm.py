"""Read raw PCM: samples without a file around them. The same samples in a WAV file give the same windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio_file import MIN_SAMPLE_RATE, frames_of_block
from avizor_inference.items.containers.plain_wav import HEADER
from avizor_inference.items.resampler import MAX_RATIO
from avizor_inference.items.windows import MAX_CHANNELS

# Little-endian element type and full scale of each format, by its name.
_FORMATS = {"s16le": ("<i2", 32768), "f32le": ("<f4", 1)}


def sample_bytes(format: str) -> int:
    """Return the size of one sample of one channel in bytes. format: `s16le` or `f32le`."""
    return np.dtype(_FORMATS[format][0]).itemsize


def read_pcm(data: bytes | memoryview, format: str, channels: int) -> Samples:
    """Return float32[frames, channels] of interleaved samples; full scale is 1. format: `s16le` or `f32le`.

    data: a whole number of frames.
    """
    element, full_scale = _FORMATS[format]
    values = np.frombuffer(data, element).reshape(-1, channels).astype(np.float32)
    return values if full_scale == 1 else values / np.float32(full_scale)


def wav_head(format: str, sample_rate: int, channels: int, size: int) -> bytes:
    """Return what of a WAV file comes before raw samples. size: theirs in bytes, below 4 GiB.

    Layout: "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991); format 3 is floats.
    """
    frame = sample_bytes(format) * channels
    described = (1 if format == "s16le" else 3, channels, sample_rate, sample_rate * frame, frame, 8 * sample_bytes(format))
    return HEADER.pack(b"RIFF", HEADER.size - 8 + size, b"WAVE", b"fmt ", 16, *described, b"data", size)


@dataclass(frozen=True)
class PcmSamples:
    """Yields the samples of raw PCM in blocks, as an audio file does. data: a whole number of frames."""

    data: bytes
    format: str
    sample_rate: int
    channels: int

    def check(self, target_rates: Sequence[float | None]) -> None:
        """Raise InvalidInput, with the field that is wrong. target_rates: those that it is resampled to, in Hz."""
        if self.format not in _FORMATS:
            raise InvalidInput(f"PCM format {self.format} is not known; send {' or '.join(_FORMATS)}", field="pcm.format")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise InvalidInput(f"{self.channels} channels; sound has 1 to {MAX_CHANNELS}", field="pcm.channels")
        for rate in (rate or self.sample_rate for rate in target_rates):
            least, most = max(MIN_SAMPLE_RATE, rate / MAX_RATIO), rate * MAX_RATIO
            if not least <= self.sample_rate <= most:
                raise InvalidInput(
                    f"a sample rate of {self.sample_rate} Hz; this model takes {least:g} to {most:g}", field="pcm.sample_rate"
                )
        frame = sample_bytes(self.format) * self.channels
        if len(self.data) % frame:
            raise InvalidInput(
                f"{len(self.data)} bytes are not a whole number of samples of {self.channels} channels of {self.format}, which "
                f"take {frame}",
                field="pcm.data",
            )

    def blocks(self, first: int = 0) -> Iterator[Samples]:
        """Yield the samples from frame `first` on, one block at a time.

        Raises MediaError if there are none, or one is not a finite number.
        """
        if not self.data:
            raise MediaError("the sound holds no samples")
        frame = sample_bytes(self.format) * self.channels
        frames = frames_of_block(self.channels)
        for start in range(first * frame, len(self.data), frames * frame):
            block = read_pcm(memoryview(self.data)[start : start + frames * frame], self.format, self.channels)
            if not np.isfinite(block).all():
                raise MediaError(f"a sample after frame {start // frame} is not a finite number", offset=start // frame)
            yield block
