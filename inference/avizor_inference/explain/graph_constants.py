"""Read the weights of an ONNX graph as the floats that it computes with: quantised weights are de-quantised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from avizor_inference.arrays import Array

# What is computed at once where all inputs are known. Other operators would belong to the network itself.
_FOLDED = frozenset(
    {"DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Flatten", "Constant"}
)


class GraphConstants(Mapping[str, Array]):
    """Returns the values of a graph that no input influences, by name. Each is computed when it is first asked for.

    Of an int8 graph these are the float weights that its DequantizeLinear nodes return. KeyError: a value depends on an input.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._initializers = {each.name: each for each in model.graph.initializer}
        # In the order of the graph, in which a node comes after those that it takes values of.
        self._folded: dict[str, onnx.NodeProto] = {}
        for node in model.graph.node:
            if node.op_type in _FOLDED and all(name in self for name in node.input if name):
                self._folded |= dict.fromkeys(node.output, node)
        self._opsets = {each.domain: each.version for each in model.opset_import}
        self._known: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        """Return one value."""
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all constants."""
        return iter((*self._initializers, *self._folded))

    def __len__(self) -> int:
        """Return the number of constants."""
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        """Return whether a value is known without any input."""
        return name in self._initializers or name in self._folded

    def _compute(self, name: str) -> Array:
        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        if name not in self:
            raise KeyError(name)
        node = self._folded[name]
        values = {each: self[each] for each in node.input if each}
        (result,) = ReferenceEvaluator(node, opsets=self._opsets).run([name], values)
        return np.asarray(result)
