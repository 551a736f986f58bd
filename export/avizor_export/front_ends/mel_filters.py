"""Compute mel filter banks and analysis windows, in float64."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.items.kinds.mel_scale import hz_to_mel, mel_to_hz
from avizor_inference.items.kinds.sound_front_ends import MelFrontEnd, SpectralFrontEnd

# Coefficients of the generalised cosine windows.
_COSINES = {"boxcar": (1.0,), "hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08)}


def analysis_window(parameters: SpectralFrontEnd) -> Floats:
    """Return the window in the middle of n_fft samples, or with `pad_end` at their start: float64[n_fft].

    Povey's window is Kaldi's default: Hann's to the power of 0.85.
    """
    length = parameters.win_length or parameters.n_fft
    phase = 2 * np.pi * np.arange(length) / max(1, length if parameters.periodic else length - 1)
    weights = _COSINES["hann" if parameters.window == "povey" else parameters.window]
    window = np.broadcast_to(sum((-1) ** k * weight * np.cos(k * phase) for k, weight in enumerate(weights)), length)
    if parameters.window == "povey":
        window = np.maximum(window, 0) ** 0.85
    before = 0 if parameters.pad_end else (parameters.n_fft - length) // 2
    return np.pad(window, (before, parameters.n_fft - length - before))


def mel_filters(parameters: MelFrontEnd, sample_rate: int) -> Floats:
    """Return triangular mel filters: float64[n_mels, n_fft // 2 + 1].

    They are triangles in Hz, Kaldi's in mel. A band that is narrower than a frequency bin may hold none: its filter is all 0,
    see `empty_bands`. Raises ValueError if bands lie outside what the sample rate holds.
    """
    f_min, f_max = parameters.band(sample_rate)
    scale = parameters.mel_scale
    # Up to half the sample rate where n_fft is even, to half a bin below it where it is odd.
    frequencies: Floats = np.arange(parameters.n_fft // 2 + 1, dtype=np.float64) * (sample_rate / parameters.n_fft)
    low, high = hz_to_mel(np.array([f_min, f_max]), scale)
    mels = np.asarray(np.linspace(low, high, parameters.n_mels + 2), np.float64)
    edges = mel_to_hz(mels, scale)
    triangles = _triangles(hz_to_mel(frequencies, scale), mels) if scale == "kaldi" else _triangles(frequencies, edges)
    if parameters.norm == "none":
        return triangles
    return np.asarray(triangles * (2 / (edges[2:] - edges[:-2]))[:, None])


def _triangles(frequencies: Floats, edges: Floats) -> Floats:
    """Return triangles between the edges before and after each inner one: float64[len(edges) - 2, frequencies]."""
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


def empty_bands(parameters: MelFrontEnd, sample_rate: int) -> int:
    """Return how many mel bands hold no frequency bin. They are the logarithm of the floor, whatever the sound."""
    return int(np.sum(~mel_filters(parameters, sample_rate).any(axis=1)))
