"""Scale and standardise the pixels of images, and bring them into the network's order and layout: the front end of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avizor_inference.items.input_spec import ImageFrontEnd

# Where each of the network's channels is among red, green and blue.
_BLUE_FIRST = (2, 1, 0)


class ImageScaling(nn.Module):
    """Scales uint8[batch, height, width, channels] -> float32: (pixel on the scale of `range` - mean) / std.

    The result is [batch, channels, height, width], or with the layout nhwc [batch, height, width, channels].
    """

    scale: Tensor
    offset: Tensor
    order: Tensor | None

    def __init__(self, parameters: ImageFrontEnd) -> None:
        super().__init__()
        self._is_channels_last = parameters.layout == "nhwc"
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in parameters.on_unit_scale())
        shape = (1, 1, 1, -1) if self._is_channels_last else (1, -1, 1, 1)
        # One multiplication and one addition per pixel: x / 255 / std - mean / std.
        self.register_buffer("scale", (1 / (255 * std)).float().reshape(shape), persistent=False)
        self.register_buffer("offset", (-mean / std).float().reshape(shape), persistent=False)
        order = torch.tensor(_BLUE_FIRST) if parameters.order == "bgr" else None
        self.register_buffer("order", order, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Reorder, scale, and move channels first, in memory as well: with channels last, torch's group norm loses 3 digits."""
        values = image.float() if self._is_channels_last else image.permute(0, 3, 1, 2).contiguous().float()
        if self.order is not None:
            values = values.index_select(3 if self._is_channels_last else 1, self.order)
        return values * self.scale + self.offset
