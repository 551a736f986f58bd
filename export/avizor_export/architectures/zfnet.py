"""Build ZFNet."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from avizor_export.architectures.map_sizes import Shape, flattened


class ZFNet(nn.Module):
    """Computes float32[batch, *shape] -> logits float32[batch, classes].

    M. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks" (2014): AlexNet with a finer first layer;
    62,357,608 parameters at 3 channels of 224 x 224 pixels and 1,000 classes.

    shape: channels, height, width; 16 pixels and more. Below 96 pixels the second convolution, and below 48 also the first, has
    stride 1, so that a map is left for the linear layers.
    batch_norm: after each convolution, instead of the local response normalisation.

    Weights begin as He et al. (2015) have them for rectifiers: with torch's own smaller ones, and without batch norm, the
    signal fades over eight layers and nothing is learnt in the first epochs.
    """

    def __init__(self, classes: int = 1000, shape: Shape = (3, 224, 224), batch_norm: bool = False) -> None:
        super().__init__()
        smallest = min(shape[1:])
        first, second = (1 if smallest < 48 else 2), (1 if smallest < 96 else 2)
        self.features = nn.Sequential(
            *_block(shape[0], 96, 7, first, 1 if first == 2 else 3, batch_norm),
            nn.MaxPool2d(3, 2, padding=1),
            *_normalisation(batch_norm),
            *_block(96, 256, 5, second, 0 if second == 2 else 2, batch_norm),
            nn.MaxPool2d(3, 2, padding=1),
            *_normalisation(batch_norm),
            *_block(256, 384, 3, 1, 1, batch_norm),
            *_block(384, 384, 3, 1, 1, batch_norm),
            *_block(384, 256, 3, 1, 1, batch_norm),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(flattened(self.features, shape), 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, classes),
        )  # fmt: skip
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(torch.flatten(self.features(image), 1))
        return logits


def _block(inputs: int, outputs: int, kernel: int, stride: int, padding: int, batch_norm: bool) -> list[nn.Module]:
    norm: list[nn.Module] = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), *norm, nn.ReLU()]


def _normalisation(batch_norm: bool) -> list[nn.Module]:
    return [] if batch_norm else [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)]
