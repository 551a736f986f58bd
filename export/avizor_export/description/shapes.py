"""Shapes of the values of a graph, and how many numbers of them belong to one item.

The batch is mostly the first dimension, but not always: networks that take sequences put the steps first, others fold the
frames of a film into the batch. So shapes are inferred for a batch of a size that no dimension has by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from avizor_export.description.computed_sizes import MOST_NUMBERS, with_sizes

# A prime number: what it divides has the batch in it.
_BATCH = 1_000_003
_UNKNOWN = 0


class Shapes:
    """What is known of the shapes of a graph. Shapes of weights made of weights are filled into the graph."""

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        taken = [value for value in graph.inputs if value.name not in graph.initializers]
        first: Any = next((value.shape[0] for value in taken if value.shape), None)
        self._symbol = first.value if isinstance(first, ir.SymbolicDim) else None
        self._batch = first if isinstance(first, int) and first > 0 else _BATCH
        self._taken = set(taken)
        self._sizes = self._inferred(model)
        for value in _values(graph):
            sizes = self._sizes.get(value.name or "")
            if value.shape is None and sizes is not None and all(sizes) and not any(size % _BATCH == 0 for size in sizes):
                value.shape = ir.Shape(sizes)

    def item(self, value: ir.Value | None) -> tuple[int, ...]:
        """Shape without the batch; 0 for a size that the graph does not tell, and alone for a shape that it does not."""
        sizes = self._of(value)
        if sizes is None:
            return (_UNKNOWN,)
        batch = next((axis for axis, size in enumerate(sizes) if size == self._batch), 0)
        rest = [size for axis, size in enumerate(sizes) if axis != batch]
        return tuple(size // _BATCH if size % _BATCH == 0 else size for size in rest)

    def numbers(self, value: ir.Value | None) -> int | None:
        """How many numbers of a value belong to one item; None where the graph does not tell."""
        sizes = self._of(value)
        if sizes is None or _UNKNOWN in sizes:
            return None
        whole = math.prod(sizes)
        return whole if whole % self._batch else whole // self._batch

    def _of(self, value: ir.Value | None) -> tuple[int, ...] | None:
        return None if value is None or value.name is None else self._sizes.get(value.name)

    def _inferred(self, model: ir.Model) -> dict[str, tuple[int, ...]]:
        proto = self._without_weights(model)
        with suppress(onnx.shape_inference.InferenceError):  # what the graph says itself is left
            proto = with_sizes(proto)
        graph = proto.graph
        shaped = [
            value for value in (*graph.input, *graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape")
        ]
        found = {value.name: tuple(max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim) for value in shaped}
        return found | {constant.name: tuple(constant.dims) for constant in graph.initializer}

    def _without_weights(self, model: ir.Model) -> onnx.ModelProto:
        """The graph with weights as inputs: they may be large, and those of a network on the meta device have no numbers."""
        graph = model.graph
        given = [*graph.initializers.values(), *(value for value in graph.inputs if value.name not in graph.initializers)]
        outputs = set(graph.outputs)
        inner = [value for value in _values(graph) if value not in outputs and value.name]
        proto = helper.make_graph(
            [ir.serde.serialize_node(node) for node in graph],
            "shapes",
            [self._declared(value) for value in given],
            [self._declared(value) for value in graph.outputs],
            list(_telling(graph)),
            value_info=[self._declared(value) for value in inner if value.dtype is not None and value.shape is not None],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
        return helper.make_model(proto, opset_imports=opsets)

    def _declared(self, value: ir.Value) -> onnx.ValueInfoProto:
        dtype = TensorProto.UNDEFINED if value.dtype is None else value.dtype.value
        if value.shape is None:
            return helper.make_tensor_value_info(value.name or "", dtype, None)
        sizes: list[int | None] = [self._size(dim) for dim in value.shape]
        if sizes and sizes[0] is None and value in self._taken:
            sizes[0] = _BATCH
        return helper.make_tensor_value_info(value.name or "", dtype, sizes)

    def _size(self, dim: int | ir.SymbolicDim) -> int | None:
        if isinstance(dim, int):
            return dim if dim >= 0 else None
        return _BATCH if dim.value is not None and dim.value == self._symbol else None


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs


def _telling(graph: ir.Graph) -> Iterator[onnx.TensorProto]:
    """Constants from whose numbers shapes may follow; not those that lie in a file beside the graph which is away."""
    for value in graph.initializers.values():
        constant = value.const_value
        if constant is not None and constant.size <= MOST_NUMBERS and not getattr(constant.raw, "is_meta", False):
            with suppress(OSError, ValueError):
                yield numpy_helper.from_array(constant.numpy(), value.name)
