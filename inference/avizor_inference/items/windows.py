"""Cutting sound into the windows that a model sees at once. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avizor_inference.arrays import Samples


@dataclass(frozen=True)
class WindowFormat:
    """How a model wants its sound cut."""

    sample_rate: int  # Hz
    window: int  # samples
    hop: int  # samples


class Window(NamedTuple):
    """One window of one channel."""

    channel: int
    start_sample: int  # at the model's sample rate
    samples: Samples  # float32[window_samples] in [-1, 1]
    length: int  # samples that are sound; the rest, in a recording shorter than a window, is zeros


class Windower:
    """Cuts a stream of float32[frames, channels] into the windows of a format.

    The last window is moved back to end with the recording, so that every sample is covered and none is made up; only a
    recording shorter than one window is filled with zeros at its end.
    """

    def __init__(self, format: WindowFormat, channels: int) -> None:
        self._window, self._hop = format.window, format.hop
        self._kept = np.zeros((0, channels), dtype=np.float32)
        self._kept_from = 0  # position of the first kept sample in the stream
        self._next = 0  # start of the next window
        self._end = 0  # samples seen so far

    @property
    def is_empty(self) -> bool:
        """Whether no sample has come yet."""
        return self._end == 0

    def push(self, block: Samples) -> Iterator[Window]:
        """Windows that are complete with this block of float32[frames, channels]."""
        self._kept = np.concatenate([self._kept, block])
        self._end += len(block)
        while self._next + self._window <= self._end:
            yield from self._cut(self._next, self._window)
            self._next += self._hop
        # A whole window stays, for the last one to be moved back into.
        drop = max(0, min(self._next, self._end - self._window) - self._kept_from)
        self._kept = self._kept[drop:]
        self._kept_from += drop

    def finish(self) -> Iterator[Window]:
        """The window that covers what is left, if anything is."""
        covered = self._next - self._hop + self._window if self._next else 0
        if self._end > covered:
            yield from self._cut(max(0, self._end - self._window), min(self._end, self._window))

    def _cut(self, start: int, length: int) -> Iterator[Window]:
        part = self._kept[start - self._kept_from : start - self._kept_from + length]
        for channel in range(part.shape[1]):
            samples = np.zeros(self._window, dtype=np.float32)
            samples[:length] = part[:, channel]
            yield Window(channel, start, samples, length)
