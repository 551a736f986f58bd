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


class WindowJoiner:
    """Joins windows as they come, in memory that does not grow with the recording: their mean where they overlap.

    They come in order of position, and channel by channel at each position. So all windows of the samples before the newest
    position have come. What fills up a short recording is cut off.
    """

    def __init__(self) -> None:
        self._position = 0  # of the newest window, and of the first sample that is kept
        self._total = np.zeros((0, 0))
        self._count = np.zeros((0, 0), np.int32)

    def push(self, window: Samples, part: Part) -> Samples | None:
        """Take in float32[channels, samples], and return the samples that this completes, if it is at another position.

        They are float32[channels, samples], of all channels of the recording. Raises ValueError for a window before the newest.
        """
        if part.start_sample < self._position:
            raise ValueError(f"the window at {part.start_sample} comes after one at {self._position}")
        done = self._take(part.start_sample - self._position)
        self._position = part.start_sample
        channels = max(part.channel + len(window), len(self._total))
        self._grow(channels, max(part.length, self._total.shape[1]))
        place = slice(part.channel, part.channel + len(window)), slice(0, part.length)
        self._total[place] += window[:, : part.length]
        self._count[place] += 1
        return done

    def finish(self) -> Samples:
        """Return the samples that are left."""
        rest = self._take(self._total.shape[1])
        assert rest is not None
        return rest

    def _take(self, samples: int) -> Samples | None:
        if not samples:
            return None
        total, count = self._total[:, :samples], self._count[:, :samples]
        self._total, self._count = self._total[:, samples:], self._count[:, samples:]
        return (total / np.maximum(count, 1)).astype(np.float32)

    def _grow(self, channels: int, samples: int) -> None:
        more = ((0, channels - self._total.shape[0]), (0, samples - self._total.shape[1]))
        if any(number for _, number in more):
            self._total, self._count = np.pad(self._total, more), np.pad(self._count, more)


def join_windows(windows: Samples, parts: Sequence[Part]) -> Samples:
    """Return float32[channels, samples] of float32[windows, channels, samples]: their mean where they overlap.

    parts: one for each window, in the order of `WindowJoiner`. Windows of one channel are that of their part.
    """
    joiner = WindowJoiner()
    pieces = [joiner.push(window, part) for window, part in zip(windows, parts, strict=True)]
    return np.concatenate([piece for piece in (*pieces, joiner.finish()) if piece is not None], axis=1)
