"""Wrap a classifier: turn what it returns into probabilities, and tap its embedding and its last map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from torch import Tensor, nn

from avizor_export.graph.changed_probabilities import is_part_of_softmax
from avizor_export.graph.ends_in_sigmoid import ends_in_sigmoid, within_unit
from avizor_export.graph.heads import Head, as_columns, head_for
from avizor_export.graph.last_layers import last_linear_and_map
from avizor_export.graph.logits import LOGITS, SIGMOID, are_probabilities, class_count, logits_of, softmax_error
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError


class WrappedClassifier(WrappedNetwork):
    """Return `probabilities` [N, K] and, where the network has them, `embedding` [N, E] and `activations` [N, C, h, w] (of
    signals [N, C, length]).

    head: how the probabilities are made of what the network returns: logits, until `take_as_given` is called.
    Raises ExportError unless the network returns float32[N, K], or [N, K, 1, 1] and the like, or for a binary classifier [N, 1]
    or [N], for batches of any size.
    """

    def __init__(
        self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor, options: OutputOptions
    ) -> None:
        super().__init__(front_end, network, modes, example, options)
        values = self.run(example)
        is_row = values.ndim == 1 or (values.ndim > 1 and class_count(values.shape[1:]) is not None)
        if not is_row or len(values) != len(example):
            raise ExportError(
                f"the network returns {list(values.shape)} for a batch of {len(example)}; a classifier returns [batch, classes]"
            )
        values = as_columns(values)
        if are_probabilities(values.numpy()):
            raise softmax_error()
        self.head = head_for(values.shape[1], options.activation)
        self._own_outputs = ("probabilities",)
        linear, last_map = last_linear_and_map(network, lambda: self.run(example))
        if options.embedding is not None:
            self._tap_embedding(options.embedding, example)
        elif linear is not None:
            self._taps.catch_input("embedding", linear)
        if last_map is not None:
            self._taps.catch_map("activations", last_map)
        self._keep_usable_taps(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities, then the tapped outputs, for raw items [N, ...]."""
        values = self.chosen(self.network(self.front_end(items)))
        return (self.head.probabilities(values), *self._taps.take().values())

    def take_as_given(self) -> None:
        """Take what the network returns as probabilities from now on. Raises ExportError if a softmax was asked for."""
        self.head = self.head.as_given(self._options.activation)

    def as_reference(self, items: Items) -> dict[str, Items]:
        """Return the outputs for raw items [n, ...] by name, and LOGITS and SIGMOID, with which they are compared."""
        caught: list[object] = []
        handle = self.network.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            outputs = super().as_reference(items)
        finally:
            handle.remove()
        if not self.head.is_given:
            outputs[LOGITS] = as_columns(self.chosen(caught[-1])).numpy()
        if self.head.is_by_sigmoid:
            outputs[SIGMOID] = np.ones((len(items), 1), np.float32)
        return outputs


def head_in(wrapped: WrappedNetwork) -> Head | None:
    """Return the head of a wrapped classifier; None for an autoencoder."""
    return wrapped.head if isinstance(wrapped, WrappedClassifier) else None


def applies_activation(wrapped: WrappedNetwork, proto: onnx.ModelProto, example: Tensor) -> bool:
    """Return whether a classifier is taken to return logits, and its graph shows that they are probabilities already.

    That is so after a sigmoid, and for the one number of a binary classifier that is a part of a softmax.
    """
    if not isinstance(wrapped, WrappedClassifier) or wrapped.head.is_given:
        return False
    logits = logits_of(proto.graph)
    if logits is None:
        return False
    is_part = wrapped.head.is_binary and is_part_of_softmax(proto.graph, logits)
    return (is_part or ends_in_sigmoid(proto.graph, logits)) and within_unit(wrapped.run(example).numpy())
