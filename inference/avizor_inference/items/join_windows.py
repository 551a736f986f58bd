"""Join the windows of a recording, as a model returns them, to one recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from avizor_inference.arrays import Samples


class Part(Protocol):
    """Describes where in a recording a window is. length: its samples that are sound; zeros follow."""

    @property
    def channel(self) -> int:
        """Return the channel; 0 for all together."""

    @property
    def start_sample(self) -> int:
        """Return the first sample."""

    @property
    def length(self) -> int:
        """Return the number of samples."""


def join_windows(windows: Samples, parts: Sequence[Part]) -> Samples:
    """Return float32[channels, samples] of float32[windows, channels, samples]: their mean where they overlap.

    parts: one for each window. Windows of one channel are that of their part. What fills up a short recording is cut off.
    """
    together = windows.shape[1]
    channels = max(part.channel for part in parts) + together
    end = max(part.start_sample + part.length for part in parts)
    total, count = np.zeros((channels, end)), np.zeros((channels, end), np.int32)
    for window, part in zip(windows, parts, strict=True):
        place = slice(part.channel, part.channel + together), slice(part.start_sample, part.start_sample + part.length)
        total[place] += window[:, : part.length]
        count[place] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)
