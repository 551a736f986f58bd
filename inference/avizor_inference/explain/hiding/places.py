"""Find which windows slide over a row of each kind: their sizes, and good ones where none are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avizor_inference.errors import InvalidInput
from avizor_inference.explain.heat_map import Unit
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.hiding.slide import MAX_COPIES, Slide, one_by_one, slide, too_many
from avizor_inference.items.input_spec import AudioInput, ImageInput, InputSpec, SignalInput, TableInput, TensorInput
from avizor_inference.items.kinds.mel_scale import hz_to_mel, mel_to_hz
from avizor_inference.items.kinds.sound_front_ends import MelFrontEnd

# So many windows side by side cover an axis where no size is given; with the stride, of half a size, they are almost twice.
_SIDE_BY_SIDE = {"image": 7, "line": 16, "cells": 8}


@dataclass(frozen=True)
class Windows:
    """Holds the windows along both axes of a map; each of the one is hidden with each of the other."""

    y: Slide
    x: Slide

    @property
    def count(self) -> int:
        """Return the number of masked copies."""
        return len(self.y) * len(self.x)


class _Wanted(NamedTuple):
    """Holds the size and the stride along one axis; None where it is not given."""

    size: float | None
    stride: float | None


def windows_for(spec: InputSpec, settings: HidingSettings) -> Windows:
    """Return the windows that hide parts of a row. Raises InvalidInput for settings that do not fit, or too many windows."""
    if settings.by is not None and not isinstance(spec, AudioInput):
        raise InvalidInput(f"`by` {settings.by} is for sound, and the model takes {spec.modality}; leave it out")
    windows = _windows(spec, settings)
    if windows.count > MAX_COPIES:
        raise InvalidInput(too_many(windows.count))
    return windows


def _windows(spec: InputSpec, settings: HidingSettings) -> Windows:
    if isinstance(spec, ImageInput):
        return _patches(spec.height, spec.width, settings, "pixels")
    if isinstance(spec, AudioInput):
        return _sound(spec, settings)
    if isinstance(spec, SignalInput):
        return _signal(spec, settings)
    if isinstance(spec, TableInput):
        if settings.size or settings.stride:
            raise InvalidInput("the columns of a row are hidden one by one; leave out size and stride")
        return Windows(one_by_one(1, ()), one_by_one(len(spec.columns), spec.columns))
    return _tensor(spec, settings)


def _patches(height: int, width: int, settings: HidingSettings, unit: Unit) -> Windows:
    usual = max(1, round(min(height, width) / _SIDE_BY_SIDE["image"]))
    y, x = _both(settings)
    return Windows(
        slide(height, *_whole(y, min(usual, height)), unit, "height"),
        slide(width, *_whole(x, min(usual, width)), unit, "width"),
    )


def _sound(spec: AudioInput, settings: HidingSettings) -> Windows:
    if settings.by == "both":
        if len(settings.size) == 1 or len(settings.stride) == 1:
            raise InvalidInput("by both, size and stride are two numbers each, Hz and seconds, as in 500x0.1")
        hertz, seconds = _both(settings)
        return Windows(_bands(spec, hertz, _SIDE_BY_SIDE["cells"]), _stretches(spec, seconds, _SIDE_BY_SIDE["cells"]))
    wanted = _one(settings)
    if settings.by == "frequency":
        length = spec.window_samples / spec.sample_rate
        return Windows(_bands(spec, wanted, _SIDE_BY_SIDE["line"]), Slide(np.zeros(1), np.full(1, length), "seconds"))
    return Windows(one_by_one(1, ()), _stretches(spec, wanted, _SIDE_BY_SIDE["line"]))


def _stretches(spec: AudioInput, wanted: _Wanted, parts: int) -> Slide:
    return _timed(spec.window_samples, spec.sample_rate, wanted, parts)


def _timed(samples: int, rate: float | None, wanted: _Wanted, parts: int) -> Slide:
    """Return stretches of whole samples. With a rate, what is wanted is in seconds."""
    if rate is None:
        return slide(samples, *_whole(wanted, max(1, round(samples / parts))), "", "samples")
    size, stride = (None if each is None else _samples(each, rate) for each in wanted)
    size, stride = _sizes(_Wanted(size, stride), max(1, round(samples / parts)), whole=True)
    length = samples / rate
    if size > samples:
        raise InvalidInput(f"size {size / rate:g} seconds does not fit the window of {length:g}; give at most that")
    return slide(samples, size, stride, "", "samples").divided(rate, "seconds")


def _samples(seconds: float, rate: float) -> float:
    """Return a duration in whole samples, at least one. Raises InvalidInput if it is not a finite number above 0."""
    if not 0 < seconds * rate < np.inf:
        raise InvalidInput(f"{seconds:g} seconds is not a length; give seconds above 0, as in 0.1")
    return float(max(1, round(seconds * rate)))


def _bands(spec: AudioInput, wanted: _Wanted, parts: int) -> Slide:
    """Return bands of frequency: of a size in Hz, or of equal width on the front end's scale, each half over the next."""
    front_end, top = spec.front_end, spec.sample_rate / 2
    low, high = front_end.band(spec.sample_rate) if isinstance(front_end, MelFrontEnd) else (0.0, top)
    if wanted.size is not None or wanted.stride is not None:
        return slide(high - low, *_sizes(wanted, (high - low) / parts, whole=False), "Hz", "band", begin=low)
    if isinstance(front_end, MelFrontEnd):
        scale = front_end.mel_scale
        least, most = hz_to_mel(np.array([low, high]), scale).tolist()
        edges = mel_to_hz(np.linspace(least, most, 2 * parts + 1), scale)
        edges[0], edges[-1] = low, high
    else:
        edges = np.linspace(low, high, 2 * parts + 1)
    return Slide(edges[:-2], edges[2:], "Hz")


def _signal(spec: SignalInput, settings: HidingSettings) -> Windows:
    names = spec.columns or tuple(f"channel {number}" for number in range(1, spec.channels + 1))
    stretches = _timed(spec.window_samples, spec.sample_rate, _one(settings), _SIDE_BY_SIDE["line"])
    return Windows(one_by_one(spec.channels, names), stretches)


def _tensor(spec: TensorInput, settings: HidingSettings) -> Windows:
    """Return patches over the last two dimensions of a tensor, through all of the one before, or stretches of its only one."""
    *channels, height, width = (1, *spec.item_shape) if len(spec.item_shape) == 1 else spec.item_shape
    if len(channels) > 1:
        raise InvalidInput(
            f"an item of shape {list(spec.item_shape)} has no known places; hiding parts is for at most 3 dimensions"
        )
    if len(spec.item_shape) > 1:
        return _patches(height, width, settings, "")
    line = slide(width, *_whole(_one(settings), max(1, round(width / _SIDE_BY_SIDE["line"]))), "", "item")
    return Windows(one_by_one(1, ()), line)


def _both(settings: HidingSettings) -> tuple[_Wanted, _Wanted]:
    sizes, strides = _pair(settings.size, "size"), _pair(settings.stride, "stride")
    return _Wanted(sizes[0], strides[0]), _Wanted(sizes[1], strides[1])


def _one(settings: HidingSettings) -> _Wanted:
    if len(settings.size) > 1 or len(settings.stride) > 1:
        raise InvalidInput("only one axis is hidden, so that size and stride are one number each; give one")
    return _Wanted(next(iter(settings.size), None), next(iter(settings.stride), None))


def _pair(numbers: tuple[float, ...], name: str) -> tuple[float | None, float | None]:
    if len(numbers) > 2:
        raise InvalidInput(f"{name} has {len(numbers)} numbers; give one, or two as in 32x16")
    return (None, None) if not numbers else (numbers[0], numbers[-1])


def _whole(wanted: _Wanted, usual: float) -> tuple[float, float]:
    for name, value in zip(("size", "stride"), wanted, strict=True):
        if value is not None and not float(value).is_integer():
            raise InvalidInput(f"{name} {value:g} is not a whole number; it is counted in pixels, samples or values")
    return _sizes(wanted, usual, whole=True)


def _sizes(wanted: _Wanted, usual: float, *, whole: bool) -> tuple[float, float]:
    """Return size and stride. Without a size the usual one, or the stride if that is more; without a stride half the size."""
    size = wanted.size if wanted.size is not None else max(usual, wanted.stride or 0)
    half = max(1, size // 2) if whole else size / 2
    return size, half if wanted.stride is None else wanted.stride
