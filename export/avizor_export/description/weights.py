"""The network's weights in a graph: which of them each node uses, and how many numbers it is the first to use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from avizor_export.weight_origins import NETWORK, origins_of

# Shapes, axes and indices.
_NO_WEIGHTS = {ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING}


@dataclass(frozen=True)
class Weight:
    """One input of a node that holds weights. stored: the initializers that it is made of."""

    value: ir.Value
    stored: tuple[ir.Value, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """Its dimensions; none where the graph does not tell."""
        shaped = self.value if self.value.shape is not None or len(self.stored) > 1 else self.stored[0]
        return dims(shaped)

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.dims) if self.value.shape is not None else sum(math.prod(dims(each)) for each in self.stored)


class Weights:
    """Keeps account of the weights of a graph, so that each is counted once."""

    def __init__(self, graph: ir.Graph) -> None:
        # What export writes has the network's weights below `network.`; in another file every constant may be a weight.
        exported = any(name.startswith(NETWORK) for name in graph.initializers)
        prefix = NETWORK if exported else ""
        self._origins = origins_of(graph)
        self._ours = {
            value
            for value in graph.initializers.values()
            if (value.name or "").startswith(prefix) and value.dtype not in _NO_WEIGHTS and (exported or dims(value))
        }
        self._counted: set[ir.Value] = set()

    def is_fixed(self, value: ir.Value) -> bool:
        """Whether it does not depend on the graph's input."""
        return value in self._origins

    def of(self, node: ir.Node) -> list[Weight]:
        """The inputs of a node that hold weights, in their order. Nothing for a node that only makes one weight of another."""
        if node.op_type == "QuantizeLinear" or any(value in self._origins for value in node.outputs):
            return []
        given = [value for value in node.inputs if value is not None]
        made = [(value, self._origins.get(value, ())) for value in given]
        found = [Weight(value, tuple(each for each in stored if each in self._ours)) for value, stored in made]
        return [weight for weight in found if weight.stored]

    def count(self, weights: Iterable[Weight]) -> int:
        """Numbers in weights that were not counted before."""
        fresh = dict.fromkeys(each for weight in weights for each in weight.stored if each not in self._counted)
        self._counted.update(fresh)
        return sum(math.prod(dims(each)) for each in fresh)


def dims(value: ir.Value) -> tuple[int, ...]:
    """Dimensions of a constant."""
    return tuple(dim for dim in value.shape or () if isinstance(dim, int))


def name_of(node: ir.Node, weights: Sequence[Weight]) -> str:
    """The module that the weights are of; of a node without weights its own name."""
    name = weights[0].stored[0].name if weights else None
    if name:
        module = name.removeprefix(NETWORK).partition(".parametrizations.")
        return module[0] if module[1] else module[0].rpartition(".")[0] or module[0]
    return (node.name or node.op_type).removeprefix("node_")
