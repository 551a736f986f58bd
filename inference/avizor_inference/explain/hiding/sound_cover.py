"""Hide stretches of time and bands of frequency in a waveform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats, Items
from avizor_inference.explain.hiding.cover import Cover, Mask, places_of, with_outside

# The levels of frequencies are averaged in dB; what is by more dB below the loudest counts as that.
_LEAST_DB = -120.0
_SMOOTHED = 0.25  # of the narrowest place: over so much its edges fade


class SoundCover(Cover):
    """Hides bands of frequency (rows of the map) in stretches of time (its columns), in a waveform float32[..., samples].

    A band is taken from the spectrum of the whole window by the FFT, multiplied by a mask whose edges fade over a quarter of
    the narrowest band, and subtracted; what the fill has there is added. Without the fade a band would ring through the whole
    window. The masks of all bands add up to 1. Within a band, stretches fade in the same way. A map of one row, all
    frequencies, is hidden in time alone: samples are replaced, without a fade.
    """

    def __init__(self, row: Items, fill: str | float, rate: float, hertz: Floats | None, seconds: Floats) -> None:
        """hertz, seconds: the edges of the map's places; hertz None for all frequencies."""
        self._wave = row.astype(np.float64)
        samples = row.shape[-1]
        self._spectrum = np.fft.rfft(self._wave)
        self._filled = _fill_spectrum(self._spectrum, fill)
        self._still = np.fft.irfft(self._filled, samples)
        self._x = places_of(seconds, (np.arange(samples) + 0.5) / rate)
        self._x_fade = _fade(seconds, 1 / rate)
        self._y = None if hertz is None else places_of(hertz, np.fft.rfftfreq(samples, 1 / rate))
        self._y_fade = 1 if hertz is None else _fade(hertz, rate / samples)
        self._last: tuple[bytes, Floats] = (b"", np.zeros(0))

    def hide(self, mask: Mask, out: Items) -> None:
        """See Cover."""
        padded = with_outside(mask)
        if self._y is None:
            out[...] = np.where(padded[0][self._x], self._still, self._wave)
            return
        hidden = self._wave.copy()
        for stretches in np.unique(padded[padded.any(axis=1)], axis=0):
            band = self._difference((padded == stretches).all(axis=1)[self._y])
            hidden -= band if stretches[:-1].all() else band * smooth(stretches[self._x], self._x_fade)
        out[...] = hidden

    def _difference(self, bins: NDArray[np.bool_]) -> Floats:
        """Return what the waveform has in these bins and the fill has not. The last one is kept: windows of time share it."""
        key = bins.tobytes()
        if self._last[0] != key:
            spectrum = (self._spectrum - self._filled) * smooth(bins, self._y_fade)
            self._last = (key, np.fft.irfft(spectrum, self._wave.shape[-1]))
        return self._last[1]


def smooth(mask: NDArray[np.bool_], width: int) -> Floats:
    """Return the mask with edges that fade from 0 to 1: twice the mean over `width` values. The ends count as repeated."""
    values = mask.astype(np.float64)
    for _ in range(2):
        sums = np.concatenate([[0.0], np.cumsum(np.pad(values, (width // 2, width - 1 - width // 2), mode="edge"))])
        values = (sums[width:] - sums[:-width]) / width
    return values


def _fade(edges: Floats, step: float) -> int:
    """Return over how many steps the edges of places fade; odd, so that a fade is centred on its edge."""
    return int(np.diff(edges).min() * _SMOOTHED / 2 / step) * 2 + 1


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
    angle[0] = angle[-1] = 0  # these two bins hold real numbers
    return np.asarray(level * np.exp(1j * angle))
