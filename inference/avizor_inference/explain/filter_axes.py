"""Say what the axes of a layer's filters are: pixels, mel bands and milliseconds, samples, or places of the map before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.explain.layers import Convolution
from avizor_inference.items.input_spec import AudioInput, ImageInput, InputSpec, SignalInput
from avizor_inference.items.kinds.sound_front_ends import LogMelFrontEnd, MfccFrontEnd, SpectrogramFrontEnd, WaveformFrontEnd

_CELLS = "places of the map before"


@dataclass(frozen=True)
class FilterAxis:
    """Describes one axis of a filter. unit: of the axis. extent: of the whole filter in it."""

    unit: str
    extent: float


@dataclass(frozen=True, eq=False)
class FilterPictures:
    """Holds filters as they are drawn: values[filters, channels, height, width], or without height where they are curves.

    y: None for curves. is_colour: the three channels are red, green and blue. channels: their names; empty if they have none.
    Up is the first row for images, and the lowest band for sound (`starts_below`).
    """

    values: Floats
    x: FilterAxis
    y: FilterAxis | None = None
    is_colour: bool = False
    channels: tuple[str, ...] = ()
    starts_below: bool = False


def pictures_of(layer: Convolution, spec: InputSpec, *, is_first: bool) -> FilterPictures:
    """Return the filters of a layer with their axes. is_first: whether it takes what the front end makes of an item."""
    values = layer.weights
    extents = [(size - 1) * step + 1 for size, step in zip(layer.kernel, layer.dilations, strict=True)]
    if values.ndim > 4:
        values = values.reshape(*values.shape[:2], -1, values.shape[-1])
        extents = [values.shape[2], extents[-1]]
    if is_first and isinstance(spec, AudioInput):
        return _of_sound(values, extents, spec)
    if is_first and isinstance(spec, SignalInput) and len(extents) == 1:
        rate = spec.sample_rate
        x = FilterAxis("ms", 1000 * extents[0] / rate) if rate else FilterAxis("samples", extents[0])
        return FilterPictures(values, x, channels=spec.columns if len(spec.columns) == values.shape[1] else ())
    unit = "pixels" if is_first and isinstance(spec, ImageInput) else _CELLS
    if len(extents) == 1:
        return FilterPictures(values, FilterAxis(_CELLS, extents[0]))
    y, x = (FilterAxis(unit, each) for each in extents)
    if is_first and isinstance(spec, ImageInput) and spec.channels == values.shape[1] == 3:
        ordered = values[:, ::-1] if spec.front_end.order == "bgr" else values
        return FilterPictures(ordered, x, y, is_colour=True, channels=("red", "green", "blue"))
    return FilterPictures(values, x, y)


def _of_sound(values: Floats, extents: list[int], spec: AudioInput) -> FilterPictures:
    front_end = spec.front_end
    if isinstance(front_end, WaveformFrontEnd):
        if len(extents) == 1:
            return FilterPictures(values, FilterAxis("ms", 1000 * extents[0] / spec.sample_rate))
        return FilterPictures(values, FilterAxis(_CELLS, extents[1]), FilterAxis(_CELLS, extents[0]))
    step = 1000 * front_end.hop_length / spec.sample_rate
    if len(extents) == 1:
        time = FilterAxis("ms", extents[0] * step)
        if values.shape[1] != front_end.bands:
            return FilterPictures(values, time)
        # A convolution over time alone: its input channels are the bands.
        return FilterPictures(values[:, None], time, _bands(front_end, front_end.bands, spec), starts_below=True)
    if front_end.layout.index("T") < front_end.layout.index("F"):
        values, extents = values.swapaxes(2, 3), extents[::-1]
    bands = _bands(front_end, extents[0], spec)
    return FilterPictures(values, FilterAxis("ms", extents[1] * step), bands, starts_below=True)


def _bands(front_end: LogMelFrontEnd | MfccFrontEnd | SpectrogramFrontEnd, extent: int, spec: AudioInput) -> FilterAxis:
    if isinstance(front_end, SpectrogramFrontEnd):
        return FilterAxis("Hz", extent * spec.sample_rate / front_end.n_fft)
    return FilterAxis("coefficients" if isinstance(front_end, MfccFrontEnd) else "mel bands", extent)


def scaled(values: Floats) -> Floats:
    """Return each filter [n, ...] divided by its largest absolute weight, so that 0 stays 0: -1 to 1."""
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    return values / np.where(largest > 0, largest, 1).reshape(-1, *[1] * (values.ndim - 1))
