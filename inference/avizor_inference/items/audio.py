"""Resample sound that is read in blocks, and cut it into windows. The memory needed does not grow with the file.

Only this is done outside the graph. What the model does to a window (log-mel, scaling) is part of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import Sound, opened_sound
from avizor_inference.items.file_access import open_file
from avizor_inference.items.resampler import Resampler
from avizor_inference.items.sections import WHOLE, Cut, Section
from avizor_inference.items.windows import ChannelMode, Range, Window, Windower, WindowFormat


@dataclass
class Level:
    """Measures how loud the samples of a file are before they are clipped. Full scale is 1.

    sample_rate, in Hz, and channels are those of a sound; 0 for anything else.
    """

    samples: int = 0  # of all channels
    beyond: int = 0  # samples whose magnitude exceeds full scale
    peak: float = 0.0  # largest magnitude
    sample_rate: int = 0
    channels: int = 0

    def add(self, block: Samples, full_scale: float = 1.0) -> None:
        """Add one block of finite samples, float32[frames, channels]. full_scale: infinite for what is never clipped."""
        peak = max(float(block.max(initial=0.0)), -float(block.min(initial=0.0)))
        self.samples += block.size
        self.peak = max(self.peak, peak)
        if peak > full_scale:
            self.beyond += int(np.count_nonzero(np.abs(block) > full_scale))

    def take_in(self, other: Level) -> None:
        """Add what was measured in another part of the same sound."""
        self.samples, self.beyond = self.samples + other.samples, self.beyond + other.beyond
        self.peak = max(self.peak, other.peak)
        self.sample_rate, self.channels = max(self.sample_rate, other.sample_rate), max(self.channels, other.channels)

    @property
    def share_beyond(self) -> float:
        """Return the share of the samples that exceed full scale, 0 to 1."""
        return self.beyond / self.samples if self.samples else 0.0


def windows_of(
    source: Path | BinaryIO,
    formats: Sequence[WindowFormat],
    level: Level | None = None,
    *,
    channels: ChannelMode = "each",
    section: Section = WHOLE,
) -> Iterator[tuple[WindowFormat, Window]]:
    """Decode an audio file once, and yield its windows in each of the formats, with their format. See `windows_of_sound`.

    section: yield only its windows, and count only its samples. Of a file that is not seekable the first section has all.
    """
    with open_file(source) if isinstance(source, Path) else nullcontext(source) as file, opened_sound(file) as audio:
        cut = Cut(section, audio.frames or 0, audio.sample_rate) if section != WHOLE and audio.is_seekable else None
        if cut or not section.number:
            yield from windows_of_sound(audio, formats, level, channels=channels, cut=cut)


def windows_of_sound(
    sound: Sound,
    formats: Sequence[WindowFormat],
    level: Level | None = None,
    *,
    channels: ChannelMode = "each",
    cut: Cut | None = None,
) -> Iterator[tuple[WindowFormat, Window]]:
    """Read a sound once, and yield its windows in each of the formats, with their format. Raises MediaError.

    The windows of one format are in order of position, and channel by channel at each position, unless the format takes all
    channels together. channels: what formats of one channel take. Samples beyond full scale are clipped to [-1, 1]; `level`
    counts them, in all channels. cut: take only a section of the sound.
    """
    for format in formats:
        _check_channels(sound.channels, format.channels, channels)
    level = level or Level()
    level.sample_rate, level.channels = sound.sample_rate, sound.channels
    feeds = {format: _Feed(format.sample_rate, channels if format.channels == 1 else "each") for format in formats}
    resamplers = {feed: feed.resampler(sound) for feed in feeds.values()}
    position = cut.first_frame(list(feeds)) if cut else 0
    windowers = {
        format: Windower(
            format,
            feed.count(sound),
            together=format.channels > 1,
            first_channel=feed.first_channel,
            range=cut.reach(format, position) if cut else Range(),
        )
        for format, feed in feeds.items()
    }

    def pushed(block: Samples, last: bool = False) -> Iterator[tuple[WindowFormat, Window]]:
        # Level has counted the file's samples beyond full scale; the overshoot of the filter does not count.
        is_within = cut is None and level.peak <= 1
        converted = {
            feed: _within_full_scale(resampler.push(feed.of(block), last), is_within and not resampler.changes)
            for feed, resampler in resamplers.items()
        }
        for format, windower in windowers.items():
            for window in windower.push(converted[feeds[format]]):
                yield format, window

    for block in sound.blocks(position):
        level.add(cut.own(block, position) if cut else block)
        position += len(block)
        yield from pushed(block)
        if cut and cut.is_read(position) and all(windower.is_done for windower in windowers.values()):
            return
    if any(resampler.changes for resampler in resamplers.values()):
        yield from pushed(np.zeros((0, sound.channels), dtype=np.float32), last=True)  # what is still in the filters
    for format, windower in windowers.items():
        if windower.is_empty:
            actual = f"{level.samples // sound.channels} samples at {sound.sample_rate} Hz"
            raise MediaError(f"the recording holds {actual}, less than one at the model's {format.sample_rate} Hz")
        for window in windower.finish():
            yield format, window


def _within_full_scale(samples: Samples, is_within: bool) -> Samples:
    """Return the samples clipped to [-1, 1]; is_within: they are within it already."""
    return samples if is_within else np.clip(samples, -1, 1)


def count_windows(source: BinaryIO, format: WindowFormat, *, channels: ChannelMode = "each") -> int | None:
    """Return the number of windows that `windows_of` yields, by the file's header; None if it does not tell its length.

    Raises MediaError for a header with which the file would be refused.
    """
    with opened_sound(source) as audio:
        _check_channels(audio.channels, format.channels, channels)
        rate = format.sample_rate or audio.sample_rate
        Resampler(audio.sample_rate, rate, audio.channels)
        if audio.frames is None:
            return None
        windows = format.windows_in(round_half_up(audio.frames * rate / audio.sample_rate))
        return windows * (audio.channels if channels == "each" and format.channels == 1 else 1)


def round_half_up(number: float) -> int:
    """Return the nearest integer, as soxr rounds the length of what it resamples."""
    return floor(number + 0.5)


class _Feed(NamedTuple):
    """Describes the samples that some formats share: their rate in Hz (None: that of the sound), and which channels."""

    sample_rate: float | None
    channels: ChannelMode

    @property
    def first_channel(self) -> int:
        return self.channels if isinstance(self.channels, int) else 0

    def count(self, sound: Sound) -> int:
        return sound.channels if self.channels == "each" else 1

    def resampler(self, sound: Sound) -> Resampler:
        return Resampler(sound.sample_rate, self.sample_rate or sound.sample_rate, self.count(sound))

    def of(self, block: Samples) -> Samples:
        """Return the block, the mean of its channels, or one of them: float32[frames, channels]."""
        if self.channels == "each":
            return block
        if self.channels == "mix":
            return np.asarray(block.mean(axis=1, keepdims=True), np.float32)
        return np.ascontiguousarray(block[:, self.channels : self.channels + 1])


def _check_channels(actual: int, wanted: int, chosen: ChannelMode) -> None:
    """Raise MediaError for a recording that a model of several channels cannot take, or that lacks the chosen channel."""
    channels = "1 channel" if actual == 1 else f"{actual} channels"
    if wanted not in (1, actual):
        raise MediaError(
            f"the recording has {channels}, and the model takes {wanted} together; convert it to {wanted} channels, or use a "
            "model with channels=1, which takes each channel by itself"
        )
    if wanted == 1 and isinstance(chosen, int) and chosen >= actual:
        raise MediaError(f"the recording has {channels}, and channel {chosen}, counted from 0, is to be taken")
