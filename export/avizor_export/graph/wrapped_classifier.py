"""Wrap a classifier: add what turns its logits into probabilities, and tap its embedding and its last map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avizor_export.graph.last_layers import last_linear_and_map
from avizor_export.graph.logits import are_probabilities, softmax_error
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_inference.errors import ExportError


class WrappedClassifier(WrappedNetwork):
    """Return `probabilities` [N, K] and, where the network has them, `embedding` [N, E] and `activations` [N, C, h, w].

    Raises ExportError unless the network returns logits float32[N, K], for batches of any size.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, modes: Mapping[nn.Module, bool], example: Tensor) -> None:
        super().__init__(front_end, network, modes)
        logits = self.run(example)
        if logits.ndim != 2 or len(logits) != len(example):
            raise ExportError(
                f"the network returns {list(logits.shape)} for a batch of {len(example)}; a classifier returns [batch, classes]"
            )
        if are_probabilities(logits.numpy()):
            raise softmax_error()
        self._own_outputs = ("probabilities",)
        linear, last_map = last_linear_and_map(network, lambda: self.run(example))
        if linear is not None:
            self._taps.catch_input("embedding", linear)
        if last_map is not None:
            self._taps.catch_map("activations", last_map)
        self._keep_usable_taps(example)

    def forward(self, items: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities, then the tapped outputs, for raw items [N, ...]."""
        logits = self.network(self.front_end(items))
        return (torch.softmax(logits, dim=1), *self._taps.take().values())
