"""Hide stretches of time and bands of frequency in a waveform."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats, Items
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.hiding.cover import Cover, Mask

# The levels of frequencies are averaged in dB; what is by more dB below the loudest counts as that.
_LEAST_DB = -120.0
# Of the narrowest place: over so much the edges of bands, and of stretches of a band, fade.
_FADE = 0.25
# The parts of the sound in each band, which are kept for maps of bands and stretches.
_MOST_BYTES = 512 * 2**20


class SoundCover(Cover):
    """Hides bands of frequency (rows of the map) in stretches of time (its columns), in a waveform float32[..., samples].

    A band is taken from the spectrum of the whole window by the FFT, multiplied by a mask whose edges fade over a quarter of
    the narrowest band, and subtracted; what the fill has there is added. Without the fade a band would ring through the whole
    window. The masks of all bands add up to 1. Within a band, stretches fade in the same way. A map of one row, all
    frequencies, is hidden in time alone: samples are replaced, without a fade.
    """

    def __init__(self, row: Items, fill: str | float, rate: float, hertz: Floats | None, seconds: Floats) -> None:
        """hertz, seconds: the edges of the map's places; hertz None for all frequencies. Raises InvalidInput."""
        self._wave = row.astype(np.float64)
        samples = row.shape[-1]
        spectrum = np.fft.rfft(self._wave)
        filled = _fill_spectrum(spectrum, fill)
        self._difference = spectrum - filled
        self._still = np.fft.irfft(filled, samples)
        self._x = _places(seconds, (np.arange(samples) + 0.5) / rate)
        self._x_fade, self._stretches = _fade(seconds, 1 / rate), len(seconds) - 1
        self._alone = hertz is None  # stretches of time, with all frequencies
        self._y = _places(np.array([0.0, np.inf]) if hertz is None else hertz, np.fft.rfftfreq(samples, 1 / rate))
        self._bands, self._y_fade = (1, 1) if hertz is None else (len(hertz) - 1, _fade(hertz, rate / samples))
        if self._stretches > 1 and self._bands > 1 and (needed := self._bands * row.nbytes) > _MOST_BYTES:
            raise InvalidInput(
                f"{self._bands} bands of a window of {samples:,} samples need {needed / 2**20:,.0f} MiB, and at most "
                f"{_MOST_BYTES // 2**20} are used; hide fewer bands, or time and frequency one after the other"
            )

    def hide(self, mask: Mask, out: Items) -> None:
        """See Cover."""
        if self._alone:
            out[...] = np.where(_at(mask[0], self._x), self._still, self._wave)
        elif self._stretches == 1:
            out[...] = self._wave - self._part(mask[:, 0])
        else:
            self._hide_both(mask, out)

    def _hide_both(self, mask: Mask, out: Items) -> None:
        hidden = self._wave.copy()
        for stretch, (where, weights) in enumerate(self._ramps):
            if mask[:, stretch].any():
                bands = mask[:, stretch].astype(np.float32)
                hidden[..., where] -= weights * np.tensordot(bands, self._parts[..., where], axes=1)
        out[...] = hidden

    def _part(self, bands: NDArray[np.bool_]) -> Floats:
        """Return what the waveform has in these bands and the fill has not."""
        return np.fft.irfft(self._difference * smooth(_at(bands, self._y), self._y_fade), self._wave.shape[-1])

    @cached_property
    def _parts(self) -> NDArray[np.float32]:
        """Return the same for each band, [bands, ..., samples]."""
        return np.stack([self._part(np.arange(self._bands) == band).astype(np.float32) for band in range(self._bands)])

    @cached_property
    def _ramps(self) -> list[tuple[slice, NDArray[np.float32]]]:
        """Return for each stretch where it is felt, and how much at each sample there; together they add up to 1."""
        ramps = []
        for stretch in range(self._stretches):
            inside = self._x == stretch
            samples = np.flatnonzero(inside)
            where = slice(max(0, samples[0] - self._x_fade), samples[-1] + 1 + self._x_fade) if len(samples) else slice(0, 0)
            ramps.append((where, smooth(inside[where], self._x_fade).astype(np.float32)))
        return ramps


def _places(edges: Floats, positions: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Return the place, from 0, that each position belongs to; the number of places where it is outside of all."""
    places = np.searchsorted(edges, positions, side="right") - 1
    return np.where(places < 0, len(edges) - 1, np.minimum(places, len(edges) - 1))


def _at(hidden: NDArray[np.bool_], places: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return whether each position is hidden; what is outside of all places never is."""
    return np.asarray(np.append(hidden, False)[places])


def smooth(mask: NDArray[np.bool_], width: int) -> Floats:
    """Return the mask with edges that fade from 0 to 1: twice the mean over `width` values. The ends count as repeated."""
    values = mask.astype(np.float64)
    for _ in range(2 if len(values) else 0):
        sums = np.concatenate([[0.0], np.cumsum(np.pad(values, (width // 2, width - 1 - width // 2), mode="edge"))])
        values = (sums[width:] - sums[:-width]) / width
    return values


def _fade(edges: Floats, step: float) -> int:
    """Return over how many steps each of two means is taken; odd, so that a fade is centred on its edge."""
    return int(np.diff(edges).min() * _FADE / 4 / step) * 2 + 1


def _fill_spectrum(spectrum: NDArray[np.complex128], fill: str | float) -> NDArray[np.complex128]:
    """Return the spectrum of what is put over hidden places, [..., bins].

    silence: nothing. A number: the sound itself, by so many dB louder (below 0). mean: noise that has the same level at all
    frequencies, the mean of the window's levels in dB; the same noise each time.
    """
    if fill == "silence":
        return np.zeros_like(spectrum)
    if not isinstance(fill, str):
        return np.asarray(spectrum * 10 ** (fill / 20))
    power = np.abs(spectrum) ** 2
    least = power.max(axis=-1, keepdims=True) * 10 ** (_LEAST_DB / 10) + np.finfo(np.float64).tiny
    level = np.exp(np.log(np.maximum(power, least)).mean(axis=-1, keepdims=True) / 2)
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, spectrum.shape[-1:])
    angle[[0, -1]] = 0  # these two bins hold real numbers
    return np.asarray(level * np.exp(1j * angle))
