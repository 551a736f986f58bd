"""Standardise the channels of signals: their front end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avizor_inference.items.input_spec import SignalFrontEnd


class SignalScaling(nn.Module):
    """Standardises float32[batch, channels, samples]: (value - mean) / std of each channel.

    The mean is subtracted first: for a small change on a large value (a pressure), value / std - mean / std would lose it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, parameters: SignalFrontEnd) -> None:
        super().__init__()
        for name, values in (("mean", parameters.mean), ("std", parameters.std)):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1), persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """Standardise."""
        return (signal - self.mean) / self.std
