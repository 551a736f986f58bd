"""Put a map on axes: pixels of an image, seconds and Hz of a sound, seconds or samples of a signal, columns of a table.

A map has fewer places than its item. Each stands for an equal share of what the network saw: a quarter of the pixels, of the
frames, of the mel bands. What the network saw of the item through such a place is more than that (its receptive field).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Array, Floats
from avizor_inference.explain.heat_map import Axis, Unit
from avizor_inference.items.input_spec import (
    AudioInput,
    ImageInput,
    InputSpec,
    LogMelFrontEnd,
    MfccFrontEnd,
    SignalInput,
    SpectrogramFrontEnd,
    TableInput,
    WaveformFrontEnd,
)
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.kinds.mel_scale import hz_to_mel, mel_to_hz
from avizor_inference.items.kinds.sound_front_ends import SpectralFrontEnd


def on_axes(spec: InputSpec, values: Array, span: Span | None = None) -> tuple[NDArray[np.float32], Axis, Axis]:
    """Return a map as it is drawn, float32[h, w], with its axes y and x. A sound's y begins at its lowest frequency.

    values: one for each place of the network's features, or of a coarser grid over them: float[h, w], or float[length] of what
    has one dimension. span: of the row in its sound; seconds are counted from the beginning of the sound.
    """
    values = np.asarray(values, np.float32)
    if isinstance(spec, AudioInput):
        return _on_sound(spec, values, span)
    rows = values.reshape(1, -1) if values.ndim < 2 else values
    if isinstance(spec, ImageInput):
        return rows, _evenly(rows.shape[0], 0, spec.height, "pixels"), _evenly(rows.shape[1], 0, spec.width, "pixels")
    if isinstance(spec, SignalInput):
        return rows, _evenly(len(rows), 0, len(rows)), time_axis(spec, rows.shape[1], span)
    x = _evenly(rows.shape[1], 0, rows.shape[1])
    return rows, _evenly(len(rows), 0, len(rows)), Axis(x.edges, names=_names(spec, rows.shape[1]))


def time_axis(spec: AudioInput | SignalInput, places: int, span: Span | None = None) -> Axis:
    """Return the axis of places that share a window evenly, in seconds; in samples for a signal without a sample rate."""
    rate = float(spec.sample_rate or 1)
    start = span.start_sample if span else 0
    return _evenly(places, start / rate, (start + spec.window_samples) / rate, "seconds" if spec.sample_rate else "")


def frequency_axis(spec: AudioInput, places: int) -> Axis:
    """Return the axis of places that share the bands of the front end evenly, the lowest first: mel bands, or bins, in Hz.

    Coefficients of an MFCC have numbers. A band of a mel front end reaches halfway, in mel, to the middles of its neighbours.
    """
    front_end = spec.front_end
    if isinstance(front_end, LogMelFrontEnd):
        scale = front_end.mel_scale
        low, high = hz_to_mel(np.array(front_end.band(spec.sample_rate)), scale)
        share = (np.linspace(0, front_end.n_mels, places + 1) + 0.5) / (front_end.n_mels + 1)
        return Axis(mel_to_hz(low + share * (high - low), scale), "Hz")
    if isinstance(front_end, SpectrogramFrontEnd):
        bins = np.linspace(0, front_end.bands, places + 1) - 0.5
        return Axis(np.clip(bins * spec.sample_rate / front_end.n_fft, 0, spec.sample_rate / 2), "Hz")
    if isinstance(front_end, MfccFrontEnd):
        return _evenly(places, 0, front_end.n_mfcc)
    return _evenly(places, 0, spec.sample_rate / 2, "Hz")


def _on_sound(spec: AudioInput, values: NDArray[np.float32], span: Span | None) -> tuple[NDArray[np.float32], Axis, Axis]:
    front_end = spec.front_end
    if values.ndim < 2:  # a place for each time, over all frequencies
        rows = values.reshape(1, -1)
    elif isinstance(front_end, WaveformFrontEnd):  # of a network that makes its own bands, or keeps channels
        return values, _evenly(len(values), 0, len(values)), time_axis(spec, values.shape[1], span)
    else:
        rows = values.T if front_end.layout.endswith("TF") else values
    if isinstance(front_end, WaveformFrontEnd):
        return rows, frequency_axis(spec, 1), time_axis(spec, rows.shape[1], span)
    return rows, frequency_axis(spec, len(rows)), _frames_axis(spec, front_end, rows.shape[1], span)


def _frames_axis(spec: AudioInput, front_end: SpectralFrontEnd, places: int, span: Span | None) -> Axis:
    """Return the axis of places that share the frames evenly: a frame is a hop around its middle, within the window."""
    frames, hop = front_end.frames(spec.window_samples), front_end.hop_length
    middle = 0.0 if front_end.center else front_end.frame_length / 2
    edges = np.clip(np.linspace(0, frames, places + 1) * hop + middle - hop / 2, 0, spec.window_samples)
    return Axis(((span.start_sample if span else 0) + edges) / spec.sample_rate, "seconds")


def _names(spec: InputSpec, places: int) -> tuple[str, ...]:
    """Return the names of the columns of a table, or of its features, by their number; empty if there are none."""
    names = (spec.feature_names(), spec.columns) if isinstance(spec, TableInput) else ()
    return next((each for each in names if len(each) == places), ())


def _evenly(places: int, start: float, end: float, unit: Unit = "") -> Axis:
    edges: Floats = np.linspace(start, end, places + 1)
    return Axis(edges, unit)
