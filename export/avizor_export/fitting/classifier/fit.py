"""Fit a classifier: from items with their classes to a trained network, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_export.detection.early_stopping import Watch
from avizor_export.fitting.classifier.confusion import Confusion
from avizor_export.fitting.classifier.labelled import Labelled
from avizor_export.fitting.classifier.networks import Design, with_published_weights
from avizor_export.fitting.classifier.parts import Parts, divide
from avizor_export.fitting.classifier.training import BATCH, FRESH_RATE, Examples, Recipe, Training, class_weights
from avizor_export.fitting.computing import same_everywhere
from avizor_export.front_ends.build import build_front_end, feature_shape, fit_constants, front_end_of
from avizor_export.stages import stage
from avizor_inference.arrays import Items
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.sound_front_ends import SpectralFrontEnd

# What the training of a small network may cost at most: multiply-adds of one run over the items. It is about three minutes on
# two cores. Steps are bounded by it and not by a clock: the same seed gives the same network.
BUDGET = 6e11
STEPS = (300, 6000)
# Steps between two measurements on held-out items: those of all items, within these bounds. A loss of fewer steps is chance.
STEPS_BETWEEN = (30, 200)
EPOCHS_OF_ARCHITECTURE = 30
TUNING_RATE = 3e-4  # of weights that are trained already
# Of fresh weights in more than SHALLOW layers without normalisation: VGG16 does not learn at FRESH_RATE.
DEEP_RATE, SHALLOW = 2e-4, 6
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Fitted:
    """Holds a trained classifier and what was measured of it.

    input: with the constants of the training items. parts: which items trained and which measured. confusion: of those that
    measured. curve: of the training, by name.
    """

    network: nn.Module
    input: InputSpec
    design: Design
    labels: tuple[str, ...]
    parts: Parts
    confusion: Confusion
    curve: Mapping[str, Sequence[float]]


def fit_classifier(
    data: Labelled,
    spec: InputSpec,
    design: Design,
    weights: Path | None = None,
    most_steps: int | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Fitted:
    """Train a classifier of the items, and measure it on those that were held out.

    spec: what an item is; constants of its front end are those of the training items, unless torchvision's weights are given.
    weights: a file of torchvision's, for an architecture. most_steps: None for those of `recipe_for`. Raises ExportError.
    """
    with same_everywhere():
        torch.manual_seed(seed)
        parts = divide(data.classes, data.groups, seed)
        if weights is None:
            spec = with_constants(spec, data.of(parts.training)[0])
        shape, classes = feature_shape(spec), len(data.labels)
        network = with_published_weights(design, classes, shape, weights) if weights else design.build(classes, shape)
        trainer = Trainer(network, spec, data, parts, seed)
        recipe = recipe_for(network, design, shape, trainer.rows, is_trained=weights is not None)
        curve = trainer.run(replace(recipe, most_steps=most_steps or recipe.most_steps), watch)
        return Fitted(network, spec, design, data.labels, parts, trainer.confusion(), curve)


class Trainer:
    """Trains a network with the items of `parts.training`, and measures it on those of `parts.measuring`."""

    def __init__(self, network: nn.Module, spec: InputSpec, data: Labelled, parts: Parts, seed: int) -> None:
        self._labels = data.labels
        with stage("compute the features"):
            front_end = build_front_end(spec).eval()
            self._features, (self._training, self._stopping, self._measuring) = _examples(
                front_end, [data.of(part) for part in (parts.training, parts.stopping, parts.measuring)]
            )
        weights = class_weights(torch.bincount(self._training.classes, minlength=len(data.labels)))
        self._trainer = Training(network, self._features, weights, seed)

    @property
    def rows(self) -> int:
        """Return the number of rows that train."""
        return len(self._training)

    def run(self, recipe: Recipe, watch: Watch | None = None) -> dict[str, list[float]]:
        """Train, and return the learning curve."""
        return self._trainer.run(self._training, self._stopping, recipe, watch)

    def confusion(self) -> Confusion:
        """Measure the network as it is, on items that neither trained nor ended the training."""
        return Confusion.of(self._labels, self.classes, self.predicted())

    @property
    def classes(self) -> NDArray[np.int64]:
        """Return the class of each item that measures."""
        return self._measuring.class_of_recording.numpy()

    def predicted(self) -> NDArray[np.int64]:
        """Return what the network as it is takes each item that measures for."""
        return self._trainer.probabilities(self._measuring).argmax(dim=1).numpy()


def with_constants(spec: InputSpec, rows: Items) -> InputSpec:
    """Return the description with the constants of these raw rows, if its front end has any."""
    if not front_end_of(spec).parts():
        return spec
    with stage("fit mean and std"):
        return fit_constants(spec, torch.from_numpy(rows).split(256))


def has_bands(spec: InputSpec) -> bool:
    """Return whether the features are spectra of sound."""
    return isinstance(spec.front_end_parameters, SpectralFrontEnd)


def recipe_for(network: nn.Module, design: Design, shape: tuple[int, ...], rows: int, *, is_trained: bool) -> Recipe:
    """Return how to train with so many rows.

    A small network has the steps that BUDGET pays for. An architecture was asked for by name, and takes the time it needs.
    is_trained: the weights are not fresh.
    """
    epoch = -(-rows // BATCH)
    between = min(max(epoch, STEPS_BETWEEN[0]), STEPS_BETWEEN[1])
    most = EPOCHS_OF_ARCHITECTURE * epoch if design.is_architecture else affordable_steps(network, shape)
    return Recipe(most, between, TUNING_RATE if is_trained else first_rate(network))


def first_rate(network: nn.Module) -> float:
    """Return the rate of a training with fresh weights. Deep networks without normalisation learn nothing at a high one."""
    layers = list(network.modules())
    depth = sum(isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) for layer in layers)
    is_normalised = any(isinstance(layer, NORMALISATIONS) for layer in layers)
    return FRESH_RATE if is_normalised or depth <= SHALLOW else DEEP_RATE


def affordable_steps(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many steps BUDGET pays for."""
    return int(min(max(BUDGET / (BATCH * multiply_adds(network, shape)), STEPS[0]), STEPS[1]))


def multiply_adds(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many multiply-adds the convolutions and linear layers of a network take for one item, at least 1."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        total += output[0].numel() * weight[0].numel()

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return max(1, total)


def _examples(
    front_end: nn.Module, parts: Sequence[tuple[Items, NDArray[np.int64], NDArray[np.int64]]]
) -> tuple[nn.Module, list[Examples]]:
    """Return what turns rows into features, and the rows of each part: features, or raw items if these need less memory."""
    example = torch.from_numpy(parts[0][0][:1])
    with torch.no_grad():
        keeps_raw = front_end(example).nbytes > example.nbytes

    def rows_of(raw: Items) -> Tensor:
        items = torch.from_numpy(raw)
        if keeps_raw:
            return items
        with torch.no_grad():
            return torch.cat([front_end(batch) for batch in items.split(256)])

    made = [Examples(rows_of(raw), torch.from_numpy(classes), torch.from_numpy(items)) for raw, classes, items in parts]
    return front_end if keeps_raw else nn.Identity(), made
