"""Read a stretch of a sound as it was recorded: at the file's own sample rate, which the model may not hear."""

from __future__ import annotations

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.audio_file import opened_sound
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.windows import ChannelMode
from avizor_review.media.view import Sound

# Seconds of a file that is read from its beginning, as there is no other way.
_MOST_BEFORE_S = 3600.0


def recorded_rate(content: Content) -> int | None:
    """Return the sample rate of a file of sound in Hz; None for anything else. Raises MediaError if it cannot be read."""
    if not isinstance(content, FileContent):
        return None
    with content.open() as file, opened_sound(file) as sound:
        return sound.sample_rate


def recorded_sound(content: FileContent, channel: int | None, mode: ChannelMode, start_s: float, end_s: float) -> Sound:
    """Return what a file has between two times.

    channel: that a model of one channel looked at; None for all channels together. mode: where that channel comes from: it is a
    channel of the file, or the mean of all. Raises MediaError.
    """
    parts = []
    with content.open() as file, opened_sound(file) as sound:
        first, end = round(start_s * sound.sample_rate), round(end_s * sound.sample_rate)
        if not sound.is_seekable and start_s > _MOST_BEFORE_S:
            raise MediaError("the place is far within a file that can only be read from its beginning")
        position = first if sound.is_seekable else 0
        for block in sound.blocks(position):
            parts.append(block[max(0, first - position) : max(0, end - position)])
            position += len(block)
            if position >= end:
                break
        samples = np.concatenate(parts).T
        if channel is not None:
            samples = samples.mean(axis=0, keepdims=True) if mode == "mix" else samples[channel : channel + 1]
        return Sound(np.ascontiguousarray(samples), sound.sample_rate)
