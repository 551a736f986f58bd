"""Turn a row of a model's input into what a person can look at, as numbers: what maps are drawn over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Array, Floats, Pixels
from avizor_inference.explain.axes import time_axis
from avizor_inference.explain.heat_map import Axis
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput, CategoryColumn, ImageInput, InputSpec, SignalInput, TableInput
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.kinds.sound_front_ends import SpectralFrontEnd

# Decibels below the loudest value that a spectrogram shows.
_RANGE_DB = 80.0
# Seconds of a frame where the model's front end has none.
_FRAME_S = 0.025


@dataclass(frozen=True, eq=False)
class Picture:
    """Holds an image as it is seen: uint8[height, width, 3], red first."""

    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """Holds the loudness of a sound by time and frequency: float32[bins, frames], dB below its loudest value, at least -80."""

    decibels: NDArray[np.float32]
    y: Axis
    x: Axis


@dataclass(frozen=True, eq=False)
class Lines:
    """Holds a signal: values[channels, samples] over the x axis, and the channels' names."""

    values: Floats
    names: tuple[str, ...]
    x: Axis


@dataclass(frozen=True)
class Cells:
    """Holds one row of a table: the columns' names, and their values as text."""

    names: tuple[str, ...]
    values: tuple[str, ...]


Background = Picture | Spectrogram | Lines | Cells


def background_of(row: RawRow, spec: InputSpec) -> Background | None:
    """Return what a row looks like; None for a tensor that is not described as anything."""
    if isinstance(spec, ImageInput):
        return Picture(_as_rgb(np.asarray(row.values)))
    if isinstance(spec, AudioInput):
        return _spectrogram(np.asarray(row.values, np.float64), spec, row.span)
    if isinstance(spec, SignalInput):
        names = spec.columns or tuple(f"channel {place}" for place in range(spec.channels))
        return Lines(np.asarray(row.values, np.float64), names, time_axis(spec, spec.window_samples, row.span))
    if isinstance(spec, TableInput):
        return Cells(spec.columns, _texts(np.asarray(row.values, np.float64), spec))
    return None


def name_of_row(row: RawRow, spec: InputSpec) -> str:
    """Return which row of which item it is, for a title: `pump3.wav, channel 1, 2.5 to 5 s`."""
    name = Path(row.item).name
    if row.span is None:
        return f"{name}, row {row.index}" if isinstance(spec, TableInput) and row.index else name
    rate = getattr(spec, "sample_rate", None)
    start, end = row.span.start_sample, row.span.end_sample
    where = f"{start / rate:.6g} to {end / rate:.6g} s" if rate else f"samples {start} to {end}"
    channel = f", channel {row.span.channel}" if row.span.channel else ""
    return f"{name}{channel}, {where}"


def _as_rgb(pixels: Array) -> Pixels:
    """Return uint8[height, width, 3]: red, green, blue; of two channels, or more than four, their mean."""
    channels = pixels.shape[2]
    if channels not in (1, 3, 4):
        pixels = pixels.mean(axis=2, keepdims=True)
    return np.asarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3], np.uint8)


def _spectrogram(waveform: Floats, spec: AudioInput, span: Span | None) -> Spectrogram:
    """Return the short-time Fourier transform of a window, with the frames of the model's front end if it has them."""
    front_end = spec.front_end
    if isinstance(front_end, SpectralFrontEnd):
        length, hop = front_end.n_fft, front_end.hop_length
    else:
        length = 2 ** round(np.log2(max(16, spec.sample_rate * _FRAME_S)))
        hop = length // 4
    padded = np.pad(np.atleast_2d(waveform), ((0, 0), (length // 2, length // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length, axis=1)[:, ::hop] * np.hanning(length)
    power = (np.abs(np.fft.rfft(frames, axis=2)) ** 2).mean(axis=0).T  # [bins, frames], the mean of the channels
    loudest = power.max()
    decibels = 10 * np.log10(np.maximum(power, loudest * 10 ** (-_RANGE_DB / 10)) / loudest) if loudest else power - _RANGE_DB
    bins = np.arange(power.shape[0] + 1) - 0.5
    y = Axis(np.clip(bins * spec.sample_rate / length, 0, spec.sample_rate / 2), "Hz")
    middles = (np.arange(power.shape[1] + 1) - 0.5) * hop
    start = span.start_sample if span else 0
    x = Axis((start + np.clip(middles, 0, spec.window_samples)) / spec.sample_rate, "seconds")
    return Spectrogram(np.asarray(decibels, np.float32), y, x)


def _texts(values: Floats, spec: TableInput) -> tuple[str, ...]:
    texts = []
    for column, value in zip(spec.front_end.columns, values.tolist(), strict=True):
        if np.isnan(value):
            texts.append("missing")
        else:
            texts.append(column.categories[int(value)] if isinstance(column, CategoryColumn) else f"{value:.6g}")
    return tuple(texts)
