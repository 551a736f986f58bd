"""Compute the log-mel spectrogram in a torch module."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_export.front_ends.compensated import constant
from avizor_export.front_ends.feature_steps import Logarithm, Standardised
from avizor_export.front_ends.mel_filters import mel_filters
from avizor_export.front_ends.spectrum import Spectrum
from avizor_inference.items.kinds.sound_front_ends import LogMelFrontEnd, MelFrontEnd


class MelBands(nn.Module):
    """Computes float32[batch, samples] or float32[batch, channels, samples] -> float32[batch, channels, n_mels, frames].

    Raises ValueError if the mel bands do not suit sample rate and n_fft.
    """

    filters: Tensor

    def __init__(self, parameters: MelFrontEnd, sample_rate: int) -> None:
        super().__init__()
        self.spectrum = Spectrum(parameters)
        constant(self, "filters", filters_in_order(mel_filters(parameters, sample_rate), self.spectrum.order))

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the spectrum and its mel bands."""
        mel = torch.matmul(self.filters, self.spectrum(waveform.flatten(0, -2)))
        return mel[:, None] if waveform.ndim == 2 else mel.unflatten(0, (-1, waveform.shape[1]))


class LogMel(nn.Sequential):
    """Computes the standardised log-mel of LogMelFrontEnd, of float32[batch, samples] or float32[batch, channels, samples].

    It is float32[batch, channels, n_mels, frames], or as `layout` says; frames = LogMelFrontEnd.frames(samples). Raises
    ValueError if the mel bands do not suit sample rate and n_fft.
    """

    def __init__(self, parameters: LogMelFrontEnd, sample_rate: int) -> None:
        super().__init__(MelBands(parameters, sample_rate), Logarithm(parameters), Standardised(parameters))


def filters_in_order(filters: NDArray[np.float64], order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the columns in the order of the bins that come out: float64[n_mels, len(order)]; each bin counts once."""
    return np.where(order >= 0, filters[:, order], 0.0)
