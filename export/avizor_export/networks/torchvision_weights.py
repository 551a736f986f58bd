"""Read weights that torchvision publishes: the state dict, with the labels and the transforms that belong to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import Tensor, nn
from torchvision import models

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.networks.own_inputs import transforms_input
from avizor_export.networks.weights_files import WeightsFile, read_weights
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput

SCHEME = "torchvision:"
# Factories of torchvision's classifiers.
MODULES = "torchvision.models:"

# DenseNet's files are older than its module: what they call `norm.1` is now `norm1`.
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
# The auxiliary heads of GoogLeNet and Inception, which only training needs.
_AUXILIARY = re.compile(r"(?:^|\.)(?:aux[12]|AuxLogits)\.")
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class PublishedWeights:
    """Weights with the labels of their classes and the input they were trained on."""

    weights: WeightsFile
    labels: tuple[str, ...]
    input: ImageInput


def published_module(factory: str, text: str) -> tuple[nn.Module, PublishedWeights]:
    """Return a classifier of torchvision, `torchvision.models:NAME`, without its weights, and the weights `text` for it.

    It is built as torchvision builds it for these weights. Raises ExportError as `published_weights` does.
    """
    model = factory.removeprefix(MODULES)
    if model not in models.list_models(module=models):
        raise ExportError(f"torchvision has no classifier {model!r}; torchvision.models.list_models() has their names")
    enumeration = models.get_model_weights(model)
    entry, weights = _entry(enumeration, text, model)
    labels = _labels(entry)
    settings: dict[str, object] = {}
    if model in _WITH_AUXILIARY_HEADS:
        settings = {"transform_input": True, "aux_logits": False, "init_weights": False}
    elif model.startswith("vit_"):
        settings = {"image_size": entry.meta["min_size"][0]}
    weights = without_auxiliary_heads(weights, model)
    return models.get_model(model, weights=None, **settings), PublishedWeights(
        weights, labels, transforms_input(entry.transforms())
    )


def published_weights(design: str, text: str, batch_norm: bool = False) -> PublishedWeights:
    """Return the weights `torchvision:NAME` (downloaded, or from torch's cache) or `torchvision:NAME=FILE` (a downloaded file).

    Raises ExportError if the architecture has no such weights, or they cannot be downloaded or read.
    """
    check_has_weights(design, batch_norm)
    enumeration = getattr(models, _enumerations(batch_norm)[design])
    entry, weights = _entry(enumeration, text, f"{design}{_variant(batch_norm)}")
    return PublishedWeights(
        weights=without_auxiliary_heads(weights, design),
        labels=_labels(entry),
        input=transforms_input(entry.transforms(), ARCHITECTURES[design].normalisation),
    )


def _entry(enumeration: Any, text: str, design: str) -> tuple[Any, WeightsFile]:
    """Return the entry of one of torchvision's weights enumerations that `text` names, and its weights."""
    name, _, file = text.removeprefix(SCHEME).partition("=")
    if name not in enumeration.__members__:
        available = ", ".join(enumeration.__members__)
        raise ExportError(f"torchvision has no weights {name!r} for {design}; there are {available}")
    entry = enumeration[name]
    return entry, read_weights(Path(file)) if file else WeightsFile(Path(f"{SCHEME}{name}"), _download(entry))


def _labels(entry: Any) -> tuple[str, ...]:
    """Return the names of the classes. Raises ExportError for weights of the features alone."""
    if not entry.meta.get("categories"):
        raise ExportError(f"torchvision's {entry} have no classes: they are of the layers before the classifier; take others")
    return tuple(entry.meta["categories"])


def check_has_weights(design: str, batch_norm: bool) -> None:
    """Raise ExportError if torchvision publishes no weights for the design."""
    enumerations = _enumerations(batch_norm)
    if not enumerations.get(design):
        designs = ", ".join(name for name, enumeration in enumerations.items() if enumeration)
        raise ExportError(f"torchvision has no weights for {design!r}{_variant(batch_norm)}; it has them for {designs}")


def _enumerations(batch_norm: bool) -> dict[str, str]:
    """Return the name of torchvision's weights enumeration for each design; empty if there is none."""
    return {
        name: architecture.weights_with_batch_norm if batch_norm else architecture.weights
        for name, architecture in ARCHITECTURES.items()
    }


def _variant(batch_norm: bool) -> str:
    return " with batch norm" if batch_norm else ""


def without_auxiliary_heads(weights: WeightsFile, design: str) -> WeightsFile:
    """Return the tensors under the names of today's modules, without auxiliary heads, which only training needs."""
    tensors = {_OLD_NAME.sub(r"\1\2", name): value for name, value in weights.tensors.items()}
    if design in _WITH_AUXILIARY_HEADS:
        tensors = {name: value for name, value in tensors.items() if not _AUXILIARY.search(name)}
    return replace(weights, tensors=tensors)


def _download(entry: Any) -> Mapping[str, Tensor]:
    """Return the state dict of an entry of one of torchvision's weights enumerations."""
    try:
        state: Mapping[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ExportError(
            f"{entry.url} cannot be downloaded ({error}); fetch it elsewhere and give --weights {SCHEME}{entry.name}=FILE"
        ) from error
    return state
