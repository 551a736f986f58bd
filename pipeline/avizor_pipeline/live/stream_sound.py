"""Give the samples of a stream as a sound, from which windows are cut as from a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import frames_of_block
from avizor_inference.items.pcm import read_pcm, sample_bytes
from avizor_pipeline.live.pcm_input import PcmInput
from avizor_pipeline.live.wav_head import PcmFormat

_log = logging.getLogger(__name__)

# Seconds between two calls of `pulse` while nothing comes.
_PULSE_S = 0.2


class StreamSound:
    """Yields the samples of a stream, one recording after the other. See `audio.Sound`.

    pulse: is called after each block, and some times a second while none comes; the recording ends when it returns False, and
    at `most_frames`. taken: samples of each channel so far, over all recordings. is_broken: whether one is not a number.
    """

    def __init__(self, input: PcmInput, format: PcmFormat, most_frames: int, pulse: Callable[[], bool]) -> None:
        self._input, self._format, self._most_frames, self._pulse = input, format, most_frames, pulse
        self._frame_bytes = sample_bytes(format.format) * format.channels
        self._rest = b""  # of samples that belong to the next block
        self.taken = 0
        self.broken: MediaError | None = None

    @property
    def sample_rate(self) -> int:
        """See audio.Sound."""
        return self._format.sample_rate

    @property
    def channels(self) -> int:
        """See audio.Sound."""
        return self._format.channels

    @property
    def ended(self) -> bool:
        """Return whether no recording comes after this one. What is left of a sample is said."""
        if not self._input.ended or len(self._rest) >= self._frame_bytes:
            return False
        if self._rest:
            _log.warning(
                "standard input ended after %d of the %d bytes of a sample of all channels; check --format and "
                "--input-channels",
                len(self._rest),
                self._frame_bytes,
            )
            self._rest = b""
        return True

    def wait(self) -> bool:
        """Wait for the next sample for a short time; return whether it is there. Raises MediaError, OSError."""
        while len(self._rest) < self._frame_bytes:
            if not self._input.wait(_PULSE_S):
                return False
            self._rest += self._input.take()
        return True

    def blocks(self, first: int = 0) -> Iterator[Samples]:
        """Yield the samples of one recording, as they come: float32[frames, channels]. The first is there. first: is 0.

        They end before a sample that is not a finite number, and `broken` then says so. Raises OSError.
        """
        frames, most = 0, frames_of_block(self.channels)
        while frames < self._most_frames and not self.ended:
            if not self.wait():
                if not self._pulse():
                    return
                continue
            count = min(len(self._rest) // self._frame_bytes, most, self._most_frames - frames)
            data, self._rest = self._rest[: count * self._frame_bytes], self._rest[count * self._frame_bytes :]
            block = read_pcm(data, self._format.format, self.channels)
            if len(good := _finite_part(block)) < count:
                self.broken = self._not_finite(frames + len(good))
            frames, self.taken = frames + len(good), self.taken + len(good)
            if len(good):
                yield good
            if self.broken or not self._pulse():
                return

    def _not_finite(self, frame: int) -> MediaError:
        place = f"sample {frame} of the recording ({frame / self.sample_rate:.3f} s after it began)"
        return MediaError(f"{place} is not a finite number; check --format, and what sends the samples", offset=frame)


def _finite_part(block: Samples) -> Samples:
    """Return the samples before the first one that is not a finite number in all channels."""
    finite = np.isfinite(block).all(axis=1)
    return block if finite.all() else block[: int(finite.argmin())]
