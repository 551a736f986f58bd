"""LeNet-5."""

from __future__ import annotations

from torch import Tensor, nn


class LeNet(nn.Sequential):
    """float32[batch, channels, 32, 32] -> logits float32[batch, classes].

    The dense version of LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998),
    with rectifiers and max pooling; 61,706 parameters at 1 channel and 10 classes.
    """

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, classes),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = super().forward(image)
        return logits
