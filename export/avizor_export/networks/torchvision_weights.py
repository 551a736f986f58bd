"""Weights that torchvision publishes: the state dict, and the labels and normalisation that belong to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import Tensor
from torchvision import models

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.networks.weights_files import WeightsFile, read_weights
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageFrontEnd, ImageInput

SCHEME = "torchvision:"

# DenseNet's files are older than its module: `norm.1` has since become `norm1`.
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
# GoogLeNet's heads that only training needs.
_AUXILIARY = re.compile(r"(?:^|\.)aux[12]\.")


@dataclass(frozen=True)
class PublishedWeights:
    """Weights with the labels of their classes and the input they were trained on."""

    weights: WeightsFile
    labels: tuple[str, ...]
    input: ImageInput


def published_weights(design: str, text: str, batch_norm: bool = False) -> PublishedWeights:
    """`torchvision:NAME` (downloaded, or from torch's cache) or `torchvision:NAME=FILE` (the same, already there).

    Raises ExportError if the architecture has no such weights, or they cannot be had.
    """
    name, _, file = text.removeprefix(SCHEME).partition("=")
    check_has_weights(design, batch_norm)
    variant, architecture = _variant(batch_norm), ARCHITECTURES[design]
    enumeration = getattr(models, _enumerations(batch_norm)[design])
    if name not in enumeration.__members__:
        there = ", ".join(enumeration.__members__)
        raise ExportError(f"torchvision has no weights {name!r} for {design}{variant}; there are {there}")
    weights = enumeration[name]
    read = read_weights(Path(file)) if file else WeightsFile(Path(f"{SCHEME}{name}"), _download(weights))
    mean, std = architecture.normalisation
    channels, height, width = architecture.shape
    front_end = ImageFrontEnd(mean=mean, std=std)
    return PublishedWeights(
        weights=without_auxiliary_heads(read, design),
        labels=tuple(weights.meta["categories"]),
        input=ImageInput(height=height, width=width, channels=channels, front_end=front_end),
    )


def check_has_weights(design: str, batch_norm: bool) -> None:
    """Raise ExportError if torchvision publishes no weights for the design."""
    having = _enumerations(batch_norm)
    if not having.get(design):
        have = ", ".join(key for key, value in having.items() if value)
        raise ExportError(f"torchvision has no weights for {design!r}{_variant(batch_norm)}; it has them for {have}")


def _enumerations(batch_norm: bool) -> dict[str, str]:
    return {key: each.weights_with_batch_norm if batch_norm else each.weights for key, each in ARCHITECTURES.items()}


def _variant(batch_norm: bool) -> str:
    return " with batch norm" if batch_norm else ""


def without_auxiliary_heads(weights: WeightsFile, design: str) -> WeightsFile:
    """The tensors under today's names, without the auxiliary heads of a GoogLeNet, which only training needs."""
    tensors = {_OLD_NAME.sub(r"\1\2", name): value for name, value in weights.tensors.items()}
    if design == "googlenet":
        tensors = {name: value for name, value in tensors.items() if not _AUXILIARY.search(name)}
    return replace(weights, tensors=tensors)


def _download(weights: Any) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ExportError(
            f"{weights.url} cannot be downloaded ({error}); fetch it elsewhere and give --weights {SCHEME}{weights.name}=FILE"
        ) from error
    return state
