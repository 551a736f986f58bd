"""Encode a stretch of sound so that every browser plays it."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import soundfile

from avizor_inference.arrays import Samples
from avizor_inference.items.resampler import Resampler
from avizor_inference.items.wav_writer import encode_wav

SoundFormat = Literal["wav", "flac", "mp3"]

MIME: dict[SoundFormat, str] = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}

# Rates that MPEG knows, and the highest one that browsers play.
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_HIGHEST = 48000


def encode_sound(samples: Samples, sample_rate: int, format: SoundFormat) -> bytes:
    """Return float32[channels, samples] as a file. What is beyond -1..1 is clipped.

    wav and flac keep each sample in 16 bits. mp3 is about a sixth of that; its rate is the next one that MPEG knows, and of
    more than two channels it holds the mean.
    """
    if format == "wav":
        return encode_wav(samples, sample_rate)
    frames = np.clip(samples, -1, 1).T
    buffer = io.BytesIO()
    if format == "flac":
        soundfile.write(buffer, frames, sample_rate, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
    frames = frames if frames.shape[1] <= 2 else frames.mean(axis=1, keepdims=True)
    rate = next((rate for rate in _MPEG_RATES if rate >= sample_rate), _HIGHEST)
    if rate != sample_rate:
        frames = np.clip(
            Resampler(sample_rate, rate, frames.shape[1]).push(np.ascontiguousarray(frames, np.float32), True), -1, 1
        )
    soundfile.write(buffer, frames, rate, format="MP3", subtype="MPEG_LAYER_III")
    return buffer.getvalue()
