"""Define a network for sounds whose number of frames is not divisible by a stride."""

from __future__ import annotations

import torch

from avizor_export.architectures.autoencoder import Autoencoder
from support.sounds import FRAMES


class PaddedAutoencoder(Autoencoder):
    """An autoencoder for 17 frames: it pads them to 24 and cuts its output back to 17."""

    def __init__(self) -> None:
        super().__init__("conv4s2bn conv8s2bn conv16s2bn latent4", (1, 16, 24))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(items, (0, 24 - FRAMES))
        return super().forward(padded)[..., :FRAMES]
