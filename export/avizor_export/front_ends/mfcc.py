"""Compute mel-frequency cepstral coefficients in a torch module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from avizor_export.front_ends.compensated import constant
from avizor_export.front_ends.feature_steps import Logarithm, Standardised
from avizor_export.front_ends.log_mel import MelBands
from avizor_inference.arrays import Floats
from avizor_inference.items.kinds.sound_front_ends import MfccFrontEnd


class Mfcc(nn.Sequential):
    """Computes the standardised MFCC of MfccFrontEnd, of float32[batch, samples] or float32[batch, channels, samples].

    They are float32[batch, channels, n_mfcc, frames], or as `layout` says.
    """

    def __init__(self, parameters: MfccFrontEnd, sample_rate: int) -> None:
        bands = MelBands(parameters, sample_rate)
        super().__init__(bands, Logarithm(parameters), _Cepstrum(parameters), Standardised(parameters))


class _Cepstrum(nn.Module):
    matrix: Tensor

    def __init__(self, parameters: MfccFrontEnd) -> None:
        super().__init__()
        constant(self, "matrix", cepstrum_matrix(parameters))

    def forward(self, log_mel: Tensor) -> Tensor:
        return torch.matmul(self.matrix, log_mel)


def cepstrum_matrix(parameters: MfccFrontEnd) -> Floats:
    """Return the rows of the orthonormal DCT-II, liftered: float64[n_mfcc, n_mels]."""
    bands, order = parameters.n_mels, np.arange(parameters.n_mfcc)
    matrix = np.sqrt(2 / bands) * np.cos(np.pi / bands * np.outer(order, np.arange(bands) + 0.5))
    matrix[0] /= np.sqrt(2)
    lifter = parameters.lifter
    if not lifter:
        return np.asarray(matrix)
    return np.asarray(matrix * (1 + lifter / 2 * np.sin(np.pi * (order + parameters.lifter_start) / lifter))[:, None])
