"""Convert frequencies to mels and back, float64 of any shape.

Slaney's scale (M. Slaney, "Auditory Toolbox", 1998) is linear below 1 kHz and logarithmic above; HTK's and Kaldi's is
logarithmic throughout.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from avizor_inference.arrays import Floats

MelScale = Literal["slaney", "htk", "kaldi"]

_LINEAR_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: Floats, scale: MelScale) -> Floats:
    """Return the mels of frequencies in Hz."""
    if scale != "slaney":
        return np.asarray(2595 * np.log10(1 + hz / 700))
    logarithmic = _LOG_FROM_MEL + np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP
    return np.where(hz < _LOG_FROM_HZ, hz / _LINEAR_HZ_PER_MEL, logarithmic)


def mel_to_hz(mel: Floats, scale: MelScale) -> Floats:
    """Return the frequencies in Hz of mels."""
    if scale != "slaney":
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel < _LOG_FROM_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)
