"""The network's weights in a graph: which of them each node uses, and how many numbers it is the first to use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from avizor_export.graph.weight_names import NETWORK, origins_of

# Shapes, axes and indices.
_NO_WEIGHTS = {ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING}

# Of operators whose other inputs are not weights: the places of those that may be.
_FIRST = dict.fromkeys(("Clip", "DequantizeLinear", "OneHot", "Pad", "QuantizeLinear", "Resize", "Upsample"), (0,))
_PLACES = {
    **_FIRST,
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
}


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
        exported = any(name.startswith(NETWORK) for each in (graph, *_inner_graphs(graph)) for name in each.initializers)
        prefix = NETWORK if exported else ""
        inside = {value: (value,) for inner in _inner_graphs(graph) for value in inner.initializers.values()}
        self._origins = {**origins_of(graph), **inside}
        # Adoption puts the prefix before every value, and a single number there is a constant more often than a weight.
        singles = exported and not any((value.name or "").startswith(NETWORK) for node in graph for value in node.outputs)
        self._ours = {
            value
            for value in (*graph.initializers.values(), *inside)
            if (value.name or "").startswith(prefix) and value.dtype not in _NO_WEIGHTS and (singles or dims(value))
        }
        self._counted: set[ir.Value] = set()

    def is_fixed(self, value: ir.Value) -> bool:
        """Whether it does not depend on the graph's input."""
        return value in self._origins

    def of(self, node: ir.Node) -> list[Weight]:
        """The inputs of a node that hold weights, in their order. Nothing for a node that only makes one weight of another."""
        if any(value in self._origins for value in node.outputs):
            return []
        given = [value for value in (*_that_hold_weights(node), *_from_inside(node)) if value is not None]
        made = [(value, self._origins.get(value, ())) for value in given]
        found = [Weight(value, tuple(each for each in stored if each in self._ours)) for value, stored in made]
        return [weight for weight in found if weight.stored]

    def count(self, weights: Iterable[Weight]) -> tuple[int, int]:
        """Numbers in weights that were not counted before, and in those that were."""
        stored = dict.fromkeys(each for weight in weights for each in weight.stored)
        fresh = [each for each in stored if each not in self._counted]
        again = [each for each in stored if each in self._counted]
        self._counted.update(fresh)
        return sum(math.prod(dims(each)) for each in fresh), sum(math.prod(dims(each)) for each in again)


def norm_inside(weights: Iterable[Weight]) -> str:
    """Which norm was folded into a layer, so far as the names of its weights show it; empty if none."""
    names = [each.name or "" for weight in weights for each in weight.stored]
    if any(".parametrizations." in name for name in names):
        return "weight norm"
    # The bias that torch's optimiser makes for a convolution that had none.
    return "batch norm" if any(name.endswith(".weight_bias") for name in names) else ""


def _from_inside(node: ir.Node) -> Iterator[ir.Value | None]:
    """What its branches and bodies take, from around them as well."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                yield from _that_hold_weights(inner)


def _that_hold_weights(node: ir.Node) -> list[ir.Value | None]:
    """The inputs of a node that may be weights; bounds, sizes, and how numbers are stored are not."""
    places = _PLACES.get(node.op_type)
    return list(node.inputs) if places is None else [node.inputs[place] for place in places if place < len(node.inputs)]


def _inner_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """Branches and bodies at any depth."""
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                inner = attribute.as_graph()
                yield inner
                yield from _inner_graphs(inner)


def dims(value: ir.Value) -> tuple[int, ...]:
    """Dimensions of a constant."""
    return tuple(dim for dim in value.shape or () if isinstance(dim, int))


def name_of(node: ir.Node, weights: Sequence[Weight]) -> str:
    """The module that the weights are of; of a node without weights, or with graphs of its own inside, its own name."""
    holds_graphs = any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())
    name = weights[0].stored[0].name if weights and not holds_graphs else None
    if name:
        module = name.removeprefix(NETWORK).partition(".parametrizations.")
        return module[0] if module[1] else module[0].rpartition(".")[0] or module[0]
    return (node.name or node.op_type).removeprefix("node_")
