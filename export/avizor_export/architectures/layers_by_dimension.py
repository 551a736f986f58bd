"""Choose torch's layers by the dimensions of a map: 1 for a series of steps, 2 for height and width."""

from __future__ import annotations

from torch import nn

CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED_CONVOLUTION: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
}
BATCH_NORM: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
MAX_POOL: dict[int, type[nn.MaxPool1d | nn.MaxPool2d]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
AVERAGE_POOL: dict[int, type[nn.AvgPool1d | nn.AvgPool2d]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
GLOBAL_POOL: dict[int, type[nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d]] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}
