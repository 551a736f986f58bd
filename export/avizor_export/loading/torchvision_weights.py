"""Weights that torchvision publishes: the state dict, and the labels and normalisation that belong to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import Tensor
from torchvision import models

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.loading.state_dicts import read_state
from avizor_inference.errors import ExportError
from avizor_inference.inputs import ImageFrontEnd, ImageInput

SCHEME = "torchvision:"

# DenseNet's files are older than its module: `norm.1` has since become `norm1`.
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")


@dataclass(frozen=True)
class PublishedWeights:
    """A state dict with the labels of its classes and the input it was trained on."""

    state: Mapping[str, Tensor]
    labels: tuple[str, ...]
    input: ImageInput
    origin: str


def published_weights(design: str, text: str, batch_norm: bool = False) -> PublishedWeights:
    """`torchvision:NAME` (downloaded, or from torch's cache) or `torchvision:NAME=FILE` (the same, already there).

    Raises ExportError if the architecture has no such weights, or they cannot be had.
    """
    name, _, file = text.removeprefix(SCHEME).partition("=")
    having = {key: each.weights_with_batch_norm if batch_norm else each.weights for key, each in ARCHITECTURES.items()}
    variant = " with batch norm" if batch_norm else ""
    if not having.get(design):
        have = ", ".join(key for key, value in having.items() if value)
        raise ExportError(f"torchvision has no weights for {design!r}{variant}; it has them for {have}")
    architecture, enumeration = ARCHITECTURES[design], getattr(models, having[design])
    if name not in enumeration.__members__:
        there = ", ".join(enumeration.__members__)
        raise ExportError(f"torchvision has no weights {name!r} for {design}{variant}; there are {there}")
    weights = enumeration[name]
    state = read_state(Path(file)) if file else _download(weights)
    mean, std = architecture.normalisation
    channels, height, width = architecture.shape
    front_end = ImageFrontEnd(mean=mean, std=std)
    return PublishedWeights(
        state=fitting(state),
        labels=tuple(weights.meta["categories"]),
        input=ImageInput(height=height, width=width, channels=channels, front_end=front_end),
        origin=file or f"{SCHEME}{name}",
    )


def fitting(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under today's names, without the auxiliary heads that only training needs."""
    renamed = {_OLD_NAME.sub(r"\1\2", name): value for name, value in state.items()}
    return {name: value for name, value in renamed.items() if not name.startswith(("aux1.", "aux2."))}


def _download(weights: Any) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ExportError(
            f"{weights.url} cannot be downloaded ({error}); fetch it elsewhere and give --weights {SCHEME}{weights.name}=FILE"
        ) from error
    return state
