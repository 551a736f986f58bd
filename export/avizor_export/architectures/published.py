"""The published architectures that torchvision has, for any number of classes and channels, and for smaller inputs.

As published at 224 pixels, with torchvision's names of the parameters, so that its weights fit. Below that a first layer made
for 224 pixels would leave next to nothing of the input, so it is made finer: below 96 pixels by half, below 48 by a quarter.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import models

from avizor_export.architectures.sizes import Shape, flattened


class _WithFlatHead(nn.Module):
    """torchvision's `features` and `classifier`, without the adaptive pool between them.

    That pool does nothing at 224 pixels, and with a map that it does not divide it has no counterpart in ONNX.
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential, shape: Shape) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        first = next(index for index, layer in enumerate(classifier) if isinstance(layer, nn.Linear))
        inputs = flattened(features, shape)
        if inputs != classifier[first].in_features:
            classifier[first] = nn.Linear(inputs, cast(nn.Linear, classifier[first]).out_features)

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(torch.flatten(self.features(image), 1))
        return logits


def alexnet(classes: int = 1000, shape: Shape = (3, 224, 224), batch_norm: bool = False) -> nn.Module:
    """AlexNet (A. Krizhevsky, "One weird trick", 2014): 61,100,840 parameters as published.

    batch_norm: after each convolution; without it the network hardly trains from scratch on few images.
    """
    network = models.alexnet(weights=None, num_classes=classes)
    features = network.features
    kernel, stride, padding = {1: (5, 1, 2), 2: (7, 2, 3), 4: (11, 4, 2)}[_reduction(shape)]
    features[0] = nn.Conv2d(shape[0], 64, kernel, stride, padding)
    if batch_norm:
        features = _with_batch_norm(features)
    return _WithFlatHead(features, network.classifier, shape)


def vgg16(classes: int = 1000, shape: Shape = (3, 224, 224), batch_norm: bool = False) -> nn.Module:
    """VGG16 (Simonyan and Zisserman, 2014): 138,357,544 parameters as published; inputs of 32 pixels and more."""
    build = models.vgg16_bn if batch_norm else models.vgg16
    network = build(weights=None, num_classes=classes)
    if shape[0] != 3:
        network.features[0] = nn.Conv2d(shape[0], 64, 3, padding=1)
    return _WithFlatHead(network.features, network.classifier, shape)


def googlenet(classes: int = 1000, shape: Shape = (3, 224, 224)) -> nn.Module:
    """GoogLeNet (Szegedy et al., 2014) with batch norm, without the auxiliary heads: 6,624,904 parameters as published."""
    network: Any = models.googlenet(weights=None, num_classes=classes, aux_logits=False, init_weights=False)
    reduction = _reduction(shape)
    network.conv1.conv = _stem(network.conv1.conv, shape[0], reduction)
    if reduction < 4:
        network.maxpool1 = nn.Identity()
    return cast(nn.Module, network)


def resnet34(classes: int = 1000, shape: Shape = (3, 224, 224)) -> nn.Module:
    """ResNet34 (He et al., 2015): 21,797,672 parameters as published."""
    network: Any = models.resnet34(weights=None, num_classes=classes)
    reduction = _reduction(shape)
    network.conv1 = _stem(network.conv1, shape[0], reduction)
    if reduction < 4:
        network.maxpool = nn.Identity()
    return cast(nn.Module, network)


def densenet121(classes: int = 1000, shape: Shape = (3, 224, 224)) -> nn.Module:
    """DenseNet121 (Huang et al., 2017): 7,978,856 parameters as published."""
    network: Any = models.densenet121(weights=None, num_classes=classes)
    reduction = _reduction(shape)
    network.features.conv0 = _stem(network.features.conv0, shape[0], reduction)
    if reduction < 4:
        network.features.pool0 = nn.Identity()
    return cast(nn.Module, network)


def _reduction(shape: Shape) -> int:
    """How much the first layers shrink the map."""
    smallest = min(shape[1:])
    if smallest < 32:
        raise ValueError(f"an input of {shape[1]} x {shape[2]} is too small; give at least 32 pixels, or use lenet or a spec")
    return 1 if smallest < 48 else 2 if smallest < 96 else 4


def _stem(first: nn.Conv2d, channels: int, reduction: int) -> nn.Conv2d:
    if reduction == 4 and channels == first.in_channels:
        return first
    kernel, stride = {1: (3, 1), 2: (7, 2), 4: (7, 2)}[reduction]
    stem = nn.Conv2d(channels, first.out_channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    return stem


def _with_batch_norm(features: nn.Sequential) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in features:
        layers.append(layer)
        if isinstance(layer, nn.Conv2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*layers)
