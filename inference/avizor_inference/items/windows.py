"""Cut sound and signals into windows, each of which is one input of a model. Needs numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from avizor_inference.arrays import Samples

# Channels that a recording, and so a window, may have. A damaged file of a few bytes may claim 1,024.
MAX_CHANNELS = 64

# What of a sound a model of one channel takes: each channel by itself, the mean of all, or one channel by its number from 0.
ChannelMode = Literal["each", "mix"] | int


class WindowFormat(NamedTuple):
    """Describes how recordings are cut for a model."""

    sample_rate: float | None  # Hz; None if the model takes recordings as they are, at any rate or none
    window: int  # samples
    hop: int  # samples
    channels: int = 1  # of one window; 1: each channel of a recording is cut by itself

    def windows_in(self, samples: int) -> int:
        """Return the number of windows that `Windower` cuts from so many samples of one channel."""
        if samples <= self.window:
            return int(samples > 0)
        whole = 1 + (samples - self.window) // self.hop
        return whole + ((whole - 1) * self.hop + self.window < samples)


class Window(NamedTuple):
    """Holds one window of one channel, or of all channels together."""

    channel: int  # 0 if it holds all
    start_sample: int  # at the model's sample rate
    samples: Samples  # float32[window_samples] of one channel, float32[channels, window_samples] of all
    length: int  # samples of the recording; the rest is zeros, if it is shorter than a window


class Range(NamedTuple):
    """Says which windows are cut, by their numbers from 0, and at which sample the stream begins.

    first_sample: at or before the start of the window before `first`. end: number after the last; None: all to the end.
    """

    first_sample: int = 0
    first: int = 0
    end: int | None = None


class Windower:
    """Cuts a stream of float32[frames, channels] into the windows of a format.

    The last window is moved back to end with the recording, so that every sample is in a window and none is invented. Only a
    recording shorter than one window is padded with zeros at its end. together: a window holds all channels; else there is one
    for each channel, one after the other. first_channel: the number of the first channel in the recording. range: which
    windows are cut; by default all.
    """

    def __init__(
        self,
        format: WindowFormat,
        channels: int,
        *,
        together: bool = False,
        first_channel: int = 0,
        range: Range = Range(),  # noqa: B008 - it is immutable
    ) -> None:
        self._first_channel = first_channel
        self._window, self._hop, self._together = format.window, format.hop, together
        self._kept = np.zeros((0, channels), dtype=np.float32)
        self._first_sample = range.first_sample
        self._kept_from = range.first_sample  # position of the first kept sample in the stream
        self._next = range.first * format.hop  # start of the next window
        self._stop = None if range.end is None else range.end * format.hop  # start of the first that is not wanted
        self._end = range.first_sample  # position after the samples seen so far

    @property
    def is_empty(self) -> bool:
        """Return whether no sample has been pushed yet."""
        return self._end == self._first_sample

    @property
    def is_done(self) -> bool:
        """Return whether all windows of a range with an end have been cut."""
        return self._stop is not None and self._next >= self._stop

    def push(self, block: Samples) -> Iterator[Window]:
        """Yield the windows that this block, float32[frames, channels], completes."""
        if len(block):
            self._kept = np.concatenate([self._kept, block]) if len(self._kept) else block
        self._end += len(block)
        while self._next + self._window <= self._end and not self.is_done:
            yield from self._cut(self._next, self._window)
            self._next += self._hop
        # Keep the samples of one whole window, because the last window may be moved back into them.
        drop = max(0, min(self._next, self._end - self._window) - self._kept_from)
        self._kept = self._kept[drop:]
        self._kept_from += drop

    def finish(self) -> Iterator[Window]:
        """Yield what covers the remaining samples, if there are any: one window, or one for each channel."""
        covered = self._next - self._hop + self._window if self._next else 0
        if self._end > covered and self._stop is None:
            yield from self._cut(max(0, self._end - self._window), min(self._end, self._window))

    def _cut(self, start: int, length: int) -> Iterator[Window]:
        part = self._kept[start - self._kept_from : start - self._kept_from + length]
        samples = np.ascontiguousarray(part.T) if length == self._window else self._padded(part.T)
        if self._together:
            yield Window(0, start, samples, length)
        else:
            yield from (Window(channel, start, one, length) for channel, one in enumerate(samples, self._first_channel))

    def _padded(self, samples: Samples) -> Samples:
        """Return float32[channels, samples] with zeros up to a window."""
        padded = np.zeros((len(samples), self._window), dtype=np.float32)
        padded[:, : samples.shape[1]] = samples
        return padded
