"""A small CNN for spectrograms and other single-channel maps of moderate size."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """float32[batch, channels, height, width] -> logits float32[batch, classes]; height and width at least 16.

    The course's rule with batch norm: four times [conv 3x3 -> norm -> relu -> pool], then an average over what is left, so
    that the input's size is free, and one linear layer.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 24) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 3 * width, 4 * width)
        self.features = nn.Sequential(*(_stage(*pair) for pair in pairwise(widths)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(self.dropout(self.pool(self.features(image)).flatten(1)))
        return logits


def _stage(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)
    )
