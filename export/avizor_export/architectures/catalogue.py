"""List the architectures by name, with what is known of each: size, parameters and normalisation as published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import nn

from avizor_export.architectures import torchvision_networks
from avizor_export.architectures.autoencoder import Autoencoder
from avizor_export.architectures.lenet import LeNet
from avizor_export.architectures.map_sizes import Shape
from avizor_export.architectures.names import LAYOUTS, NAMES
from avizor_export.architectures.spec_grammar import build_spec, reconstructs
from avizor_export.architectures.super_resolution import SuperResolution
from avizor_export.architectures.zfnet import ZFNet
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean, std per channel, on the 0..1 scale

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# torchvision's GoogLeNet carries weights from TensorFlow; its `transform_input` amounts to this.
HALF: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Architecture:
    """Describes one named architecture.

    shape, classes, parameters: as published. smallest: pixels of the smallest input that is accepted.
    batch_norm: whether there is a variant with batch norm. weights, weights_with_batch_norm: torchvision's enumeration of
    weights, if it has any. normalisation: of the input, where it is not that of these weights' transforms. choices: settings of
    `build` that change what is computed, and that the names and shapes of the parameters may not show.
    """

    build: Callable[..., nn.Module]
    shape: Shape
    classes: int
    parameters: int
    smallest: int
    batch_norm: bool = False
    weights: str = ""
    weights_with_batch_norm: str = ""
    normalisation: Normalisation | None = None
    choices: Mapping[str, tuple[bool | str, ...]] = field(default_factory=dict)


_IMAGENET_SHAPE = (3, 224, 224)
_LAYOUT: Mapping[str, tuple[bool | str, ...]] = {"layout": LAYOUTS}
ARCHITECTURES = {
    "lenet": Architecture(LeNet, (1, 32, 32), 10, 61_706, 16),
    "alexnet": Architecture(
        torchvision_networks.alexnet, _IMAGENET_SHAPE, 1000, 61_100_840, 32, True, "AlexNet_Weights", choices=_LAYOUT
    ),
    "zfnet": Architecture(ZFNet, _IMAGENET_SHAPE, 1000, 62_357_608, 16, True),
    "googlenet": Architecture(
        torchvision_networks.googlenet,
        _IMAGENET_SHAPE,
        1000,
        6_624_904,
        32,
        False,
        "GoogLeNet_Weights",
        normalisation=HALF,
        choices={**_LAYOUT, "transform_input": (True, False)},
    ),
    "vgg16": Architecture(
        torchvision_networks.vgg16,
        _IMAGENET_SHAPE,
        1000,
        138_357_544,
        32,
        True,
        "VGG16_Weights",
        "VGG16_BN_Weights",
        choices=_LAYOUT,
    ),
    "resnet34": Architecture(
        torchvision_networks.resnet34, _IMAGENET_SHAPE, 1000, 21_797_672, 32, False, "ResNet34_Weights", choices=_LAYOUT
    ),
    "densenet121": Architecture(
        torchvision_networks.densenet121, _IMAGENET_SHAPE, 1000, 7_978_856, 32, False, "DenseNet121_Weights", choices=_LAYOUT
    ),
}


# What is wrong with a design, and what torch raises at sizes that no memory holds.
_UNBUILDABLE = (ValueError, OverflowError, RuntimeError, TypeError)


def build(design: str, classes: int, shape: tuple[int, ...], *, batch_norm: bool = False, **settings: bool | str) -> nn.Module:
    """Build a classifier by an architecture's name or by a spec: float32[batch, *shape] -> logits [batch, classes].

    shape: channels, height, width; for a spec also channels, steps of a signal, or the numbers of a row. settings: of the
    architecture's `choices`; without them the layout is adapted to the shape. Raises ExportError if there is no such
    architecture, the spec is wrong, or the input or a setting does not suit it.
    """
    try:
        known = ARCHITECTURES[design].choices if design in ARCHITECTURES else {}
        for name, value in settings.items():
            check_choice(known, name, value)
        if design not in ARCHITECTURES:
            if batch_norm:
                raise ValueError(
                    "a spec says itself where batch norm is; leave out batch_norm, and write bn after its words, as in conv32bn"
                )
            return build_spec(design, _any_shape(shape), classes)
        architecture = ARCHITECTURES[design]
        if batch_norm and not architecture.batch_norm:
            raise ValueError(f"{design} has no variant with batch norm; leave out batch_norm")
        options: dict[str, bool | str] = {"batch_norm": True} if batch_norm else {}
        return architecture.build(classes=classes, shape=_map(shape), **options, **settings)
    except _UNBUILDABLE as error:
        names = f"; the architectures are {', '.join(NAMES)}" if design not in NAMES and len(design.split()) == 1 else ""
        raise ExportError(f"{design!r}: {one_line(error)}{names}") from error


def check_choice(choices: Mapping[str, tuple[bool | str, ...]], name: str, value: object) -> None:
    """Raise ValueError unless `choices` has the setting, and the value is one of its values."""
    if name not in choices:
        raise ValueError(f"there is no setting named {name}; leave it out")
    if not any(value is each or (isinstance(each, str) and value == each) for each in choices[name]):
        raise ValueError(f"{name} is {value!r}; write {' or '.join(f'{name}={option_text(each)}' for each in choices[name])}")


def option_text(value: bool | str) -> str:
    """Return a setting's value as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else value


@dataclass(frozen=True)
class Variant:
    """Describes one of the networks that an architecture's choices lead to.

    settings: by which `build` gives it. network: on the meta device, without weights.
    """

    settings: Mapping[str, bool | str]
    network: nn.Module

    def computes(self) -> tuple[object, ...]:
        """Return the layers that compute something: equal for variants that return the same with the same weights."""
        leaves = [(name, str(layer)) for name, layer in self.network.named_modules() if not list(layer.children())]
        layers = [(name, layer) for name, layer in leaves if layer != "Identity()"]
        return (*layers, getattr(self.network, "transform_input", False))


def variants_of(design: str, classes: int, shape: tuple[int, ...], batch_norm: bool = False) -> list[Variant]:
    """Return every network of the name that can be built for this shape: one for each combination of its choices.

    Raises ExportError where there is none.
    """
    choices = ARCHITECTURES[design].choices
    found: list[Variant] = []
    refused: list[ExportError] = []
    for values in product(*choices.values()):
        settings = dict(zip(choices, values, strict=True))
        try:
            with torch.device("meta"):
                found.append(Variant(settings, build(design, classes, shape, batch_norm=batch_norm, **settings)))
        except ExportError as error:
            refused.append(error)
    if not found:
        raise refused[-1]
    return found


def build_autoencoder(spec: str, shape: tuple[int, ...]) -> nn.Module:
    """Build an autoencoder, whose spec ends in latent or latentmap, or a network for super-resolution: it ends in shuffle.

    float32[batch, *shape] -> the same shape, or with shuffle so many times the height and width. shape: as `build` takes it.
    Raises ExportError if the spec is wrong, or the input does not suit it.
    """
    try:
        if not reconstructs(spec):
            raise ValueError("an autoencoder's spec ends in its latent space, as in `conv16s2 conv32s2 latent24`")
        if spec.split()[-1].startswith("shuffle"):
            return SuperResolution(spec, _map(shape))
        return Autoencoder(spec, _any_shape(shape))
    except _UNBUILDABLE as error:
        raise ExportError(f"{spec!r}: {one_line(error)}") from error


def _any_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (1, 2, 3):
        raise ValueError(
            f"it takes channels, height, width; channels, steps; or a row of numbers, and the input is {_by(shape)}"
        )
    return shape


def _map(shape: tuple[int, ...]) -> Shape:
    if len(shape) != 3:
        raise ValueError(
            f"it takes channels, height, width, and the input is {_by(shape)}; give images, or sound with front_end=log_mel, "
            "or describe the network by a spec, such as 'conv16s4 conv32s4 fc10', which takes this input too"
        )
    channels, height, width = shape
    return channels, height, width


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
