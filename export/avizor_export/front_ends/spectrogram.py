"""Compute the spectrogram in a torch module: the magnitude or power of each frequency bin."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from avizor_export.front_ends.feature_steps import Logarithm, Standardised
from avizor_export.front_ends.spectrum import Spectrum
from avizor_inference.items.kinds.sound_front_ends import SpectrogramFrontEnd


class Spectrogram(nn.Sequential):
    """Computes the standardised spectrum of SpectrogramFrontEnd, of float32[batch, samples] or [batch, channels, samples].

    It is float32[batch, channels, n_fft // 2 + 1, frames], or as `layout` says.
    """

    def __init__(self, parameters: SpectrogramFrontEnd) -> None:
        super().__init__(_Bins(parameters), Logarithm(parameters), Standardised(parameters))


class _Bins(nn.Module):
    places: Tensor

    def __init__(self, parameters: SpectrogramFrontEnd) -> None:
        super().__init__()
        self.spectrum = Spectrum(parameters)
        order = self.spectrum.order
        places = np.flatnonzero(order >= 0)
        self.register_buffer("places", torch.from_numpy(places[np.argsort(order[places])]), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        values: Tensor = self.spectrum(waveform.flatten(0, -2)).index_select(1, self.places)
        return values[:, None] if waveform.ndim == 2 else values.unflatten(0, (-1, waveform.shape[1]))
