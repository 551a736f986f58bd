"""Compute mel filter banks and analysis windows, in float64."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.items.input_spec import LogMelFrontEnd

# Coefficients of the generalised cosine windows.
_COSINES = {"boxcar": (1.0,), "hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08)}


def analysis_window(parameters: LogMelFrontEnd) -> Floats:
    """Return the periodic window in the middle of n_fft samples: float64[n_fft]."""
    length = parameters.win_length or parameters.n_fft
    phase = 2 * np.pi * np.arange(length) / length
    window = sum((-1) ** order * weight * np.cos(order * phase) for order, weight in enumerate(_COSINES[parameters.window]))
    before = (parameters.n_fft - length) // 2
    return np.pad(np.broadcast_to(window, length), (before, parameters.n_fft - length - before))


def mel_filters(parameters: LogMelFrontEnd, sample_rate: int) -> Floats:
    """Return triangular mel filters: float64[n_mels, n_fft // 2 + 1].

    Slaney's scale (M. Slaney, "Auditory Toolbox", 1998) is linear below 1 kHz and logarithmic above; HTK's is logarithmic
    throughout. A band that is narrower than a frequency bin may hold none: its filter is all 0, see `empty_bands`. Raises
    ValueError if bands lie outside what the sample rate holds.
    """
    f_min, f_max = parameters.band(sample_rate)
    to_mel, to_hz = (_hz_to_htk, _htk_to_hz) if parameters.mel_scale == "htk" else (_hz_to_slaney, _slaney_to_hz)
    # Up to half the sample rate where n_fft is even, to half a bin below it where it is odd.
    frequencies = np.arange(parameters.n_fft // 2 + 1) * (sample_rate / parameters.n_fft)
    edges = to_hz(np.linspace(to_mel(f_min), to_mel(f_max), parameters.n_mels + 2))
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    if parameters.norm == "none":
        return np.asarray(triangles)
    return np.asarray(triangles * (2 / (edges[2:] - edges[:-2]))[:, None])


def empty_bands(parameters: LogMelFrontEnd, sample_rate: int) -> int:
    """Return how many mel bands hold no frequency bin. They are the logarithm of the floor, whatever the sound."""
    return int(np.sum(~mel_filters(parameters, sample_rate).any(axis=1)))


def _hz_to_htk(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _htk_to_hz(mel: Floats) -> Floats:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


_LINEAR_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def _hz_to_slaney(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_LOG_FROM_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _slaney_to_hz(mel: Floats) -> Floats:
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel < _LOG_FROM_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)
