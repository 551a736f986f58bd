"""The architectures by name, and what is known of each: size, parameters and normalisation as published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from avizor_export.architectures import published
from avizor_export.architectures.autoencoder import Autoencoder
from avizor_export.architectures.grammar import build_spec, reconstructs
from avizor_export.architectures.lenet import LeNet
from avizor_export.architectures.sizes import Shape
from avizor_export.architectures.super_resolution import SuperResolution
from avizor_export.architectures.zfnet import ZFNet
from avizor_inference.errors import ExportError

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean, std per channel, on the 0..1 scale

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# torchvision's GoogLeNet carries weights from TensorFlow; its `transform_input` amounts to this.
HALF: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Architecture:
    """One named architecture.

    shape, classes, parameters: as published. smallest: pixels of the smallest input that makes sense.
    batch_norm: whether there is a variant with batch norm. weights, weights_with_batch_norm: torchvision's enumeration of
    weights, if it has any.
    """

    build: Callable[..., nn.Module]
    shape: Shape
    classes: int
    parameters: int
    smallest: int
    batch_norm: bool = False
    weights: str = ""
    weights_with_batch_norm: str = ""
    normalisation: Normalisation = IMAGENET


_IMAGENET_SHAPE = (3, 224, 224)
ARCHITECTURES = {
    "lenet": Architecture(LeNet, (1, 32, 32), 10, 61_706, 16),
    "alexnet": Architecture(published.alexnet, _IMAGENET_SHAPE, 1000, 61_100_840, 32, True, "AlexNet_Weights"),
    "zfnet": Architecture(ZFNet, _IMAGENET_SHAPE, 1000, 62_357_608, 16, True),
    "googlenet": Architecture(
        published.googlenet, _IMAGENET_SHAPE, 1000, 6_624_904, 32, False, "GoogLeNet_Weights", normalisation=HALF
    ),
    "vgg16": Architecture(published.vgg16, _IMAGENET_SHAPE, 1000, 138_357_544, 32, True, "VGG16_Weights", "VGG16_BN_Weights"),
    "resnet34": Architecture(published.resnet34, _IMAGENET_SHAPE, 1000, 21_797_672, 32, False, "ResNet34_Weights"),
    "densenet121": Architecture(published.densenet121, _IMAGENET_SHAPE, 1000, 7_978_856, 32, False, "DenseNet121_Weights"),
}


# What is wrong with a design, and what torch raises at sizes that no memory holds.
_UNBUILDABLE = (ValueError, OverflowError, RuntimeError, TypeError)


def build(design: str, classes: int, shape: tuple[int, ...], *, batch_norm: bool = False) -> nn.Module:
    """A classifier by an architecture's name or by a spec of the grammar: float32[batch, *shape] -> logits [batch, classes].

    shape: channels, height, width; or the numbers of a row, for a spec that begins with fc. Raises ExportError if there is no
    such architecture, the spec is wrong, or the input does not suit it.
    """
    try:
        if design not in ARCHITECTURES:
            if batch_norm:
                raise ValueError("a spec says itself where batch norm is; write bn after its words, as in conv32bn")
            return build_spec(design, _map_or_row(shape), classes)
        architecture = ARCHITECTURES[design]
        if batch_norm and not architecture.batch_norm:
            raise ValueError(f"{design} has no variant with batch norm")
        options = {"batch_norm": True} if batch_norm else {}
        return architecture.build(classes=classes, shape=_map(shape), **options)
    except _UNBUILDABLE as error:
        raise ExportError(f"{design!r}: {_line(error)}") from error


def build_autoencoder(spec: str, shape: tuple[int, ...]) -> nn.Module:
    """An autoencoder by a spec that ends in latent or latentmap, or a network for super-resolution by one that ends in shuffle.

    float32[batch, *shape] -> the same shape, or with shuffle so many times the height and width. Raises ExportError if the spec
    is wrong, or the input does not suit it.
    """
    try:
        if not reconstructs(spec):
            raise ValueError("an autoencoder's spec ends in its latent space, as in `conv16s2 conv32s2 latent24`")
        if spec.split()[-1].startswith("shuffle"):
            return SuperResolution(spec, _map(shape))
        return Autoencoder(spec, _map_or_row(shape))
    except _UNBUILDABLE as error:
        raise ExportError(f"{spec!r}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _map_or_row(shape: tuple[int, ...]) -> Shape | tuple[int]:
    return (shape[0],) if len(shape) == 1 else _map(shape)


def _map(shape: tuple[int, ...]) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"it takes channels, height, width, and the input is {' x '.join(map(str, shape))}")
    channels, height, width = shape
    return channels, height, width
