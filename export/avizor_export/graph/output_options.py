"""Hold what a user may say about the outputs of a network."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from avizor_inference.repository.manifest import Activation


@dataclass(frozen=True)
class OutputOptions:
    """Say what a network's outputs are, where it does not show by itself.

    output: name or index of the logits, probabilities or reconstruction among several outputs, such as `logits`, `0` or
        `0.logits`.
    activation: how a classifier's probabilities are made; None is softmax, or sigmoid if the network ends in one.
    embedding: name of the layer (of an .onnx file: of the value or node) whose output is the embedding.
    leave_out: optional outputs to publish without.
    """

    output: str | None = None
    activation: Activation | None = None
    embedding: str | None = None
    leave_out: Collection[str] = ()
