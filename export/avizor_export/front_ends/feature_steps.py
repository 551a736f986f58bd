"""The last steps of the front ends of sound: the logarithm, the standardisation, the layout."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from avizor_export.front_ends.compensated import constant
from avizor_inference.items.kinds.sound_front_ends import SpectralFrontEnd


class Logarithm(nn.Module):
    """Computes the logarithm that the options name, of [batch, channels, bands, frames]. It has the same shape.

    With `ref` or `top_db`, decibels depend on the largest value of the item, over all its channels.
    """

    def __init__(self, options: SpectralFrontEnd) -> None:
        super().__init__()
        self._options = options

    def forward(self, values: Tensor) -> Tensor:
        """Compute the logarithm."""
        options = self._options
        if options.log == "none":
            return values
        if options.offset:
            values = values + options.offset
        values = self._log(torch.clamp(values, min=options.floor))
        if options.ref == "max":
            values = values - values.amax(dim=(1, 2, 3), keepdim=True)
        if options.top_db is not None:
            values = torch.maximum(values, values.amax(dim=(1, 2, 3), keepdim=True) - options.top_db)
        return values

    def _log(self, values: Tensor) -> Tensor:
        if self._options.log == "natural":
            return torch.log(values)
        scale = 1.0 if self._options.log == "log10" else 20.0 / self._options.power
        return torch.log(values) * (scale / math.log(10))


class Standardised(nn.Module):
    """Subtracts the mean and divides by the std of each band of [batch, channels, bands, frames], and applies the layout."""

    mean: Tensor
    std: Tensor

    def __init__(self, options: SpectralFrontEnd) -> None:
        super().__init__()
        self._layout = options.layout
        constant(self, "mean", np.array(options.mean).reshape(-1, 1))
        constant(self, "std", np.array(options.std).reshape(-1, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Standardise, and put the dimensions in order."""
        values = (values - self.mean) / self.std
        if "C" not in self._layout:  # there is one channel
            values = values[:, 0]
        return values.transpose(-1, -2) if self._layout.endswith("TF") else values
