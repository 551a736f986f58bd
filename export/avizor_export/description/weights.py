"""Find the network's weights in a graph: which of them each node uses, and how many numbers it is the first to use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from avizor_export.graph.weight_names import NETWORK, origins_of

# Shapes, axes and indices.
_NO_WEIGHTS = {ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING}

# For operators that take other constants too: the indices of the inputs that may be weights.
_FIRST = dict.fromkeys(("Clip", "DequantizeLinear", "OneHot", "Pad", "QuantizeLinear", "Resize", "Upsample"), (0,))
_WEIGHT_INPUTS = {
    **_FIRST,
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
}


@dataclass(frozen=True)
class Weight:
    """Hold an input of a node that contains weights. stored: the initializers that it is computed from."""

    value: ir.Value
    stored: tuple[ir.Value, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """Return its dimensions; empty if the graph does not show them."""
        shaped = self.value if self.value.shape is not None or len(self.stored) > 1 else self.stored[0]
        return dims(shaped)

    @property
    def numbers(self) -> int:
        """Return how many numbers it contains."""
        return math.prod(self.dims) if self.value.shape is not None else sum(map(_size, self.stored))


class Weights:
    """Count the weights of a graph, each of them once. front_end: also what is not the network's, as a front end's."""

    def __init__(self, graph: ir.Graph, *, front_end: bool = False) -> None:
        # Export names the network's weights `network.*`; in other files any constant may be a weight.
        graphs = (graph, *_inner_graphs(graph))
        exported = not front_end and any(name.startswith(NETWORK) for scope in graphs for name in scope.initializers)
        prefix = NETWORK if exported else ""
        inside = {value: (value,) for inner in _inner_graphs(graph) for value in inner.initializers.values()}
        self._origins = {**origins_of(graph), **inside}
        # Adoption prefixes every value, so that a single number there is more often a constant than a weight.
        counts_single_numbers = exported and not any(
            (value.name or "").startswith(NETWORK) for node in graph for value in node.outputs
        )
        self._weights = {
            value
            for value in (*graph.initializers.values(), *inside)
            if (value.name or "").startswith(prefix)
            and value.dtype not in _NO_WEIGHTS
            and (counts_single_numbers or dims(value))
        }
        self._counted: set[ir.Value] = set()

    def is_fixed(self, value: ir.Value) -> bool:
        """Tell whether a value does not depend on the graph's input."""
        return value in self._origins

    def of(self, node: ir.Node) -> list[Weight]:
        """Return the inputs of a node that contain weights, in their order; none for a node that computes a weight."""
        if any(value in self._origins for value in node.outputs):
            return []
        inputs = [value for value in (*_weight_inputs(node), *_inner_weight_inputs(node)) if value is not None]
        weights = [
            Weight(value, tuple(origin for origin in self._origins.get(value, ()) if origin in self._weights))
            for value in inputs
        ]
        return [weight for weight in weights if weight.stored]

    def count(self, weights: Iterable[Weight]) -> tuple[int, int]:
        """Return how many numbers are in weights that were not counted before, and in those that were."""
        stored = dict.fromkeys(value for weight in weights for value in weight.stored)
        new = [value for value in stored if value not in self._counted]
        again = [value for value in stored if value in self._counted]
        self._counted.update(new)
        return sum(map(_size, new)), sum(map(_size, again))


def norm_inside(weights: Iterable[Weight]) -> str:
    """Return which norm was folded into a layer, as far as the names of its weights show it; empty if none."""
    names = [value.name or "" for weight in weights for value in weight.stored]
    if any(".parametrizations." in name for name in names):
        return "weight norm"
    # The name of the bias that torch's optimiser adds to a convolution without one.
    return "batch norm" if any(name.endswith(".weight_bias") for name in names) else ""


def _inner_weight_inputs(node: ir.Node) -> Iterator[ir.Value | None]:
    """Yield the inputs of nodes in its branches and bodies that may be weights, those from the outer graph too."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                yield from _weight_inputs(inner)


def _weight_inputs(node: ir.Node) -> list[ir.Value | None]:
    """Return the inputs of a node that may be weights: not bounds, sizes, scales or zero points."""
    indices = _WEIGHT_INPUTS.get(node.op_type)
    return list(node.inputs) if indices is None else [node.inputs[index] for index in indices if index < len(node.inputs)]


def _inner_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """Yield the branches and bodies in a graph, at any depth."""
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                inner = attribute.as_graph()
                yield inner
                yield from _inner_graphs(inner)


def dims(value: ir.Value) -> tuple[int, ...]:
    """Return the dimensions of a constant."""
    return tuple(dim for dim in value.shape or () if isinstance(dim, int))


def _size(value: ir.Value) -> int:
    return math.prod(dims(value))


def name_of(node: ir.Node, weights: Sequence[Weight]) -> str:
    """Return the module that the weights belong to; the node's name if it has no weights, or has branches or bodies."""
    has_graphs = any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())
    name = weights[0].stored[0].name if weights and not has_graphs else None
    if name:
        module = name.removeprefix(NETWORK).partition(".parametrizations.")
        return module[0] if module[1] else module[0].rpartition(".")[0] or module[0]
    return (node.name or node.op_type).removeprefix("node_")
