"""Cut raw PCM that arrives in chunks into windows. They are those of the same sound in a file (audio.windows_of)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Literal

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.audio_file import MIN_SAMPLE_RATE
from avizor_inference.items.pcm import read_pcm, sample_bytes
from avizor_inference.items.resampler import Resampler
from avizor_inference.items.windows import MAX_CHANNELS, Window, Windower, WindowFormat

PcmEncoding = Literal["s16le", "f32le"]

# Samples of all channels that are converted at a time, before or after resampling, whichever is more.
_SLICE_SAMPLES = 16384


class SoundStream:
    """Cuts one stream of PCM into windows. The memory needed does not grow with the stream or its chunks.

    sample_rate: of the stream, in Hz. channels: of the stream; the samples of one moment are next to each other. mix: for a
    format of one channel, the mean of all channels is cut instead of each by itself. Raises MediaError for a stream that the
    format cannot be made of.
    """

    def __init__(
        self, format: WindowFormat, encoding: PcmEncoding, sample_rate: int, channels: int, *, mix: bool = False
    ) -> None:
        _check(format, sample_rate, channels)
        self.level = Level()
        self._encoding = encoding
        self._channels, self._mix = channels, mix and format.channels == 1
        self.heard_channels = 1 if self._mix else channels
        rate = format.sample_rate or sample_rate
        self._resampler = Resampler(sample_rate, rate, self.heard_channels)
        self._windower = Windower(format, self.heard_channels, together=format.channels > 1)
        self._frame_bytes = sample_bytes(encoding) * channels
        self._slice_frames = max(1, int(_SLICE_SAMPLES / channels / max(1.0, rate / sample_rate)))
        self._rest = b""  # of a frame that the next chunk goes on with

    @property
    def frames(self) -> int:
        """Return the number of samples of each channel so far, at the rate of the stream."""
        return self.level.samples // self._channels

    def push(self, chunk: bytes, most: int) -> Iterator[list[Window]]:
        """Yield the windows that a chunk of any size completes, at most `most` at a time.

        A list is empty where a part of a large chunk completes none. Raises MediaError for a sample that is not finite.
        """
        for samples in self._slices(chunk):
            yield from _groups(self._windower.push(self._heard(samples, last=False)), most)

    def finish(self, most: int) -> Iterator[list[Window]]:
        """Yield the last windows, the very last one moved back to end with the stream, at most `most` at a time.

        Raises MediaError if the stream ends within the samples of one moment.
        """
        if self._rest:
            raise MediaError(
                f"the stream ends after {len(self._rest)} of the {self._frame_bytes} bytes of a sample of {self._channels} "
                "channels; check format and channels",
                offset=self.frames,
            )
        silence = np.zeros((0, self._channels), dtype=np.float32)
        yield from _groups(chain(self._windower.push(self._heard(silence, last=True)), self._windower.finish()), most)

    def _slices(self, chunk: bytes) -> Iterator[Samples]:
        """Yield float32[frames, channels], in slices, of what is kept and the chunk."""
        missing = -len(self._rest) % self._frame_bytes
        if len(chunk) < missing:
            self._rest += chunk
            return
        if self._rest:
            yield self._samples(memoryview(self._rest + chunk[:missing]))
        whole = missing + (len(chunk) - missing) // self._frame_bytes * self._frame_bytes
        self._rest = chunk[whole:]
        step = self._slice_frames * self._frame_bytes
        view = memoryview(chunk)
        for start in range(missing, whole, step):
            yield self._samples(view[start : min(start + step, whole)])

    def _samples(self, data: memoryview) -> Samples:
        samples = read_pcm(data, self._encoding, self._channels)
        if not np.isfinite(samples).all():
            raise MediaError(f"a sample after {self.frames} of the stream is not a finite number", offset=self.frames)
        self.level.add(samples)
        return samples

    def _heard(self, samples: Samples, *, last: bool) -> Samples:
        """Return samples as the windows have them: mixed, resampled, clipped to -1..1."""
        if self._mix:
            samples = samples.mean(axis=1, keepdims=True)
        heard: Samples = np.clip(self._resampler.push(samples, last), -1, 1)
        if np.isnan(heard).any():  # of numbers near the largest that float32 holds
            raise MediaError(f"a sample before {self.frames} of the stream is too large to be resampled", offset=self.frames)
        return heard


def _groups(windows: Iterator[Window], most: int) -> Iterator[list[Window]]:
    """Yield lists of at most `most` windows, the last one shorter, maybe empty."""
    while True:
        group = list(islice(windows, most))
        yield group
        if len(group) < most:
            return


def _check(format: WindowFormat, sample_rate: int, channels: int) -> None:
    if sample_rate < MIN_SAMPLE_RATE:
        raise MediaError(f"sample_rate is {sample_rate} Hz; sound is read from {MIN_SAMPLE_RATE} Hz on")
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(f"the stream has {channels} channels; 1 to {MAX_CHANNELS} are read")
    if format.channels not in (1, channels):
        raise MediaError(
            f"the stream has {channels} channels, and the model takes {format.channels} together; send {format.channels}"
        )
