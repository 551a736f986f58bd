"""Scale and standardise the pixels of images, and move channels first: the front end of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avizor_inference.items.input_spec import ImageFrontEnd


class ImageScaling(nn.Module):
    """Scales uint8[batch, height, width, channels] -> float32[batch, channels, height, width], (pixel / 255 - mean) / std."""

    scale: Tensor
    offset: Tensor

    def __init__(self, parameters: ImageFrontEnd) -> None:
        super().__init__()
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (parameters.mean, parameters.std))
        # One multiplication and one addition per pixel: x / 255 / std - mean / std.
        self.register_buffer("scale", (1 / (255 * std)).float().reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("offset", (-mean / std).float().reshape(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Scale, and move channels first, in memory as well: with channels last, torch's group norm loses three digits."""
        return image.permute(0, 3, 1, 2).contiguous().float() * self.scale + self.offset
