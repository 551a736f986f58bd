"""Say before the training of a classifier how long it takes with all its steps on this machine."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from avizor_export.fitting.classifier.fit import EPOCHS_OF_ARCHITECTURE, affordable_steps
from avizor_export.fitting.classifier.parts import MEASURING, STOPPING
from avizor_export.fitting.classifier.plan import ClassifierPlan
from avizor_export.fitting.classifier.training import BATCH
from avizor_export.fitting.cost import seconds_of, time_line
from avizor_export.front_ends.build import feature_shape


def cost_lines(plan: ClassifierPlan) -> Iterator[str]:
    """Yield how long a plan takes, by a few steps that are tried on noise."""
    shape, classes = feature_shape(plan.input), len(plan.labels)
    network = plan.design.build(classes, shape)
    if (steps := _most_steps(plan, network, shape)) is None:
        yield "time: not known, as a recording has any number of windows; the training says how much of it is left"
        return
    noise, labels = torch.randn(BATCH, *shape), torch.arange(BATCH) % classes

    def train(count: int) -> None:
        for _ in range(count):
            torch.autograd.backward(nn.functional.cross_entropy(network(noise), labels))

    yield time_line(steps, seconds_of(train))


def _most_steps(plan: ClassifierPlan, network: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return how many steps the training has at most; None if that depends on the lengths of recordings."""
    if plan.asked.steps or not plan.design.is_architecture:
        return plan.asked.steps or affordable_steps(network, shape)
    if plan.input.window_format() is not None:
        return None
    return EPOCHS_OF_ARCHITECTURE * math.ceil(len(plan.items) * (1 - MEASURING - STOPPING) / BATCH)
