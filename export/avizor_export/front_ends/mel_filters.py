"""Mel filter banks and analysis windows, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avizor_inference.inputs import LogMelFrontEnd

Floats = NDArray[np.float64]

# Coefficients of the generalised cosine windows.
_COSINES = {"boxcar": (1.0,), "hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08)}


def analysis_window(parameters: LogMelFrontEnd) -> Floats:
    """The periodic window in the middle of n_fft samples: float64[n_fft]."""
    length = parameters.win_length or parameters.n_fft
    phase = 2 * np.pi * np.arange(length) / length
    window = sum((-1) ** order * weight * np.cos(order * phase) for order, weight in enumerate(_COSINES[parameters.window]))
    before = (parameters.n_fft - length) // 2
    return np.pad(np.broadcast_to(window, length), (before, parameters.n_fft - length - before))


def mel_filters(parameters: LogMelFrontEnd, sample_rate: int) -> Floats:
    """Triangular mel filters: float64[n_mels, n_fft // 2 + 1].

    Slaney's scale (M. Slaney, "Auditory Toolbox", 1998) is linear below 1 kHz and logarithmic above; HTK's is logarithmic
    throughout. Raises ValueError if bands lie outside what the sample rate holds, or hold no frequency bin.
    """
    f_min, f_max = parameters.f_min, parameters.f_max if parameters.f_max is not None else sample_rate / 2
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"mel bands from {f_min} to {f_max} Hz do not lie within 0 to {sample_rate / 2} Hz, half the sample rate"
        )
    to_mel, to_hz = (_hz_to_htk, _htk_to_hz) if parameters.mel_scale == "htk" else (_hz_to_slaney, _slaney_to_hz)
    frequencies = np.linspace(0, sample_rate / 2, parameters.n_fft // 2 + 1)
    edges = to_hz(np.linspace(to_mel(f_min), to_mel(f_max), parameters.n_mels + 2))
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(triangles.sum(axis=1) == 0)
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {parameters.n_mels} mel bands hold no frequency bin; use fewer bands or a larger n_fft"
        )
    if parameters.norm == "none":
        return np.asarray(triangles)
    return np.asarray(triangles * (2 / (edges[2:] - edges[:-2]))[:, None])


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
