"""Convert the sample rate of a stream of sound."""

from __future__ import annotations

import soxr

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError

MAX_RATIO = 64  # between the file's sample rate and the model's, in either direction


class Resampler:
    """Converts the sample rate of a stream of float32[frames, channels] (soxr, high quality); equal rates change nothing.

    Raises MediaError if the rates differ by more than a factor of MAX_RATIO.
    """

    def __init__(self, source_rate: float, target_rate: float, channels: int) -> None:
        if max(source_rate, target_rate) > MAX_RATIO * min(source_rate, target_rate):
            raise MediaError(
                f"the file's {source_rate:g} Hz cannot be resampled to the model's {target_rate:g} Hz: the rates differ by "
                f"more than a factor of {MAX_RATIO}"
            )
        self._stream = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="HQ")

    @property
    def changes(self) -> bool:
        """Return whether the rates differ."""
        return self._stream is not None

    def push(self, block: Samples, last: bool = False) -> Samples:
        """Convert one block. With `last`, also return the samples still in the filter."""
        converted: Samples = block if self._stream is None else self._stream.resample_chunk(block, last=last)
        return converted
