"""Build the published architectures that torchvision has, for any number of classes and channels, in one of two layouts.

`torchvision` has the layers of torchvision's own module, whatever the size of the input. `adapted` has the same at 224
pixels. At smaller sizes a first layer made for 224 pixels would leave next to nothing of the input, so it is made finer: below
96 pixels by half, below 48 by a quarter; and the first linear layer of alexnet and vgg16 takes the map without a
pool before it.

Both have torchvision's names of the parameters. At some sizes they have the same shapes too: then a state dict fits both.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import models

from avizor_export.architectures.map_sizes import Shape, map_after
from avizor_export.architectures.names import Layout

# Pixels that the adapted layout needs.
_SMALLEST = 32


class _WithFlatHead(nn.Module):
    """Runs torchvision's `features` and `classifier`; between them its adaptive pool, if asked for and if it changes the map.

    layout: `adapted` replaces the first linear layer by one that takes the map as it is.
    """

    def __init__(self, network: Any, features: nn.Sequential, shape: Shape, layout: Layout) -> None:
        super().__init__()
        channels, *size = map_after(features, shape)
        self.features = features
        self.avgpool = nn.Identity() if layout == "adapted" or list(network.avgpool.output_size) == size else network.avgpool
        self.classifier = network.classifier
        first = next(index for index, layer in enumerate(self.classifier) if isinstance(layer, nn.Linear))
        inputs = channels * size[0] * size[1]
        if layout == "adapted" and inputs != self.classifier[first].in_features:
            self.classifier[first] = nn.Linear(inputs, cast(nn.Linear, self.classifier[first]).out_features)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))
        return logits


def alexnet(
    classes: int = 1000, shape: Shape = (3, 224, 224), batch_norm: bool = False, layout: Layout = "adapted"
) -> nn.Module:
    """Return AlexNet (A. Krizhevsky, "One weird trick", 2014): 61,100,840 parameters as published.

    batch_norm: after each convolution; without it the network hardly trains from scratch on few images.
    """
    network = models.alexnet(weights=None, num_classes=classes)
    features = network.features
    kernel, stride, padding = {1: (5, 1, 2), 2: (7, 2, 3), 4: (11, 4, 2)}[_reduction(shape, layout)]
    features[0] = nn.Conv2d(shape[0], 64, kernel, stride, padding)
    if batch_norm:
        features = _with_batch_norm(features)
    return _WithFlatHead(network, features, shape, layout)


def vgg16(classes: int = 1000, shape: Shape = (3, 224, 224), batch_norm: bool = False, layout: Layout = "adapted") -> nn.Module:
    """Return VGG16 (Simonyan and Zisserman, 2014): 138,357,544 parameters as published; inputs of 32 pixels and more."""
    build = models.vgg16_bn if batch_norm else models.vgg16
    network = build(weights=None, num_classes=classes)
    if shape[0] != 3:
        network.features[0] = nn.Conv2d(shape[0], 64, 3, padding=1)
    return _WithFlatHead(network, network.features, shape, layout)


def googlenet(
    classes: int = 1000, shape: Shape = (3, 224, 224), layout: Layout = "adapted", transform_input: bool = False
) -> nn.Module:
    """Return GoogLeNet (Szegedy et al., 2014) with batch norm, without the auxiliary heads: 6,624,904 parameters as published.

    transform_input: as of torchvision's module, which sets it where it is built with weights: an input that is normalised by
    the mean and std of ImageNet is normalised by 0.5 and 0.5 instead. Raises ValueError if it is true and there are not three
    channels.
    """
    network: Any = models.googlenet(
        weights=None, num_classes=classes, aux_logits=False, init_weights=False, transform_input=transform_input
    )
    if transform_input and shape[0] != 3:
        raise ValueError(f"transform_input takes three channels, and the input has {shape[0]}; leave it out")
    reduction = _reduction(shape, layout)
    network.conv1.conv = _stem(network.conv1.conv, shape[0], reduction)
    if reduction < 4:
        network.maxpool1 = nn.Identity()
    return _running(network, shape)


def resnet34(classes: int = 1000, shape: Shape = (3, 224, 224), layout: Layout = "adapted") -> nn.Module:
    """Return ResNet34 (He et al., 2015): 21,797,672 parameters as published."""
    network: Any = models.resnet34(weights=None, num_classes=classes)
    reduction = _reduction(shape, layout)
    network.conv1 = _stem(network.conv1, shape[0], reduction)
    if reduction < 4:
        network.maxpool = nn.Identity()
    return _running(network, shape)


def densenet121(classes: int = 1000, shape: Shape = (3, 224, 224), layout: Layout = "adapted") -> nn.Module:
    """Return DenseNet121 (Huang et al., 2017): 7,978,856 parameters as published."""
    network: Any = models.densenet121(weights=None, num_classes=classes)
    reduction = _reduction(shape, layout)
    network.features.conv0 = _stem(network.features.conv0, shape[0], reduction)
    if reduction < 4:
        network.features.pool0 = nn.Identity()
    return _running(network, shape)


def _running(network: nn.Module, shape: Shape) -> nn.Module:
    """Return the network if it takes an input of this size. Raises ValueError if not."""
    if min(shape[1:]) < _SMALLEST:
        with torch.device("meta"):
            items = torch.zeros(1, *shape)
        try:
            copy.deepcopy(network).to("meta").eval()(items)
        except RuntimeError as error:
            raise ValueError(
                f"an input of {shape[1]} x {shape[2]} is too small for torchvision's layout; give at least {_SMALLEST} pixels"
            ) from error
    return network


def _reduction(shape: Shape, layout: Layout) -> int:
    """Return by which factor the first layers shrink the map."""
    smallest = min(shape[1:])
    if layout == "torchvision":
        return 4
    if smallest < _SMALLEST:
        raise ValueError(
            f"an input of {shape[1]} x {shape[2]} is too small; give at least {_SMALLEST} pixels, or use lenet or a spec"
        )
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
