"""Build LeNet-5."""

from __future__ import annotations

from torch import Tensor, nn

from avizor_export.architectures.map_sizes import Shape, flattened


class LeNet(nn.Sequential):
    """Computes float32[batch, *shape] -> logits float32[batch, classes].

    It is the dense version of LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition"
    (1998), with rectifiers and max pooling; 61,706 parameters at 1 channel of 32 x 32 pixels and 10 classes.

    shape: channels, height, width; 32 x 32 as published, and anything from 16 on. Raises ValueError if it is too small.
    """

    def __init__(self, classes: int = 10, shape: Shape = (1, 32, 32)) -> None:
        features = nn.Sequential(
            nn.Conv2d(shape[0], 6, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        super().__init__(
            *features,
            nn.Flatten(),
            nn.Linear(flattened(features, shape), 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, classes),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = super().forward(image)
        return logits
