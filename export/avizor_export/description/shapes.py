"""Infer the shapes of the values of a graph, and how many numbers of each belong to one item.

The batch is usually the first dimension, but not always: networks for sequences have the steps first, others fold the frames of
a film into the batch. So shapes are inferred for a batch size that no dimension has by chance.
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

# A prime number: a size that it divides includes the batch.
_BATCH = 1_000_003
_UNKNOWN = 0


class Shapes:
    """Infer the shapes of a graph. The shapes of weights that are computed from weights are written into the graph."""

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        first: Any = next((value.shape[0] for value in inputs if value.shape), None)
        self._symbol = first.value if isinstance(first, ir.SymbolicDim) else None
        self._batch = first if isinstance(first, int) and first > 0 else _BATCH
        self._inputs = set(inputs)
        self._sizes = self._infer(model)
        for value in _values(graph):
            sizes = self._sizes.get(value.name or "")
            if value.shape is None and sizes is not None and all(sizes) and not any(size % _BATCH == 0 for size in sizes):
                value.shape = ir.Shape(sizes)

    def item(self, value: ir.Value | None) -> tuple[int, ...]:
        """Return the shape without the batch. An unknown size is 0, and an unknown shape is (0,)."""
        sizes = self._sizes_of(value)
        if sizes is None:
            return (_UNKNOWN,)
        batch = next((axis for axis, size in enumerate(sizes) if size == self._batch), 0)
        rest = [size for axis, size in enumerate(sizes) if axis != batch]
        return tuple(size // _BATCH if size % _BATCH == 0 else size for size in rest)

    def numbers(self, value: ir.Value | None) -> int | None:
        """Return how many numbers of a value belong to one item; None if the graph does not show its shape."""
        sizes = self._sizes_of(value)
        if sizes is None or _UNKNOWN in sizes:
            return None
        count = math.prod(sizes)
        return count if count % self._batch else count // self._batch

    def _sizes_of(self, value: ir.Value | None) -> tuple[int, ...] | None:
        return None if value is None or value.name is None else self._sizes.get(value.name)

    def _infer(self, model: ir.Model) -> dict[str, tuple[int, ...]]:
        proto = self._without_weights(model)
        with suppress(onnx.shape_inference.InferenceError):  # the shapes that the graph declares remain
            proto = with_sizes(proto)
        graph = proto.graph
        shaped = [
            value for value in (*graph.input, *graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape")
        ]
        shapes = {value.name: tuple(max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim) for value in shaped}
        return shapes | {constant.name: tuple(constant.dims) for constant in graph.initializer}

    def _without_weights(self, model: ir.Model) -> onnx.ModelProto:
        """Return the graph with its weights as inputs: they may be large, and on the meta device they have no values."""
        graph = model.graph
        inputs = [*graph.initializers.values(), *(value for value in graph.inputs if value.name not in graph.initializers)]
        outputs = set(graph.outputs)
        inner = [value for value in _values(graph) if value not in outputs and value.name]
        proto = helper.make_graph(
            [ir.serde.serialize_node(node) for node in graph],
            "shapes",
            [self._declared(value) for value in inputs],
            [self._declared(value) for value in graph.outputs],
            list(_small_constants(graph)),
            value_info=[self._declared(value) for value in inner if value.dtype is not None and value.shape is not None],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
        return helper.make_model(proto, opset_imports=opsets)

    def _declared(self, value: ir.Value) -> onnx.ValueInfoProto:
        dtype = TensorProto.UNDEFINED if value.dtype is None else value.dtype.value
        if value.shape is None:
            return helper.make_tensor_value_info(value.name or "", dtype, None)
        sizes: list[int | None] = [self._size(dim) for dim in value.shape]
        if sizes and sizes[0] is None and value in self._inputs:
            sizes[0] = _BATCH
        return helper.make_tensor_value_info(value.name or "", dtype, sizes)

    def _size(self, dim: int | ir.SymbolicDim) -> int | None:
        if isinstance(dim, int):
            return dim if dim >= 0 else None
        return _BATCH if dim.value is not None and dim.value == self._symbol else None


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs


def _small_constants(graph: ir.Graph) -> Iterator[onnx.TensorProto]:
    """Yield constants that may determine shapes, without those in a file beside the graph that does not exist."""
    for value in graph.initializers.values():
        constant = value.const_value
        if constant is not None and constant.size <= MOST_NUMBERS and not getattr(constant.raw, "is_meta", False):
            with suppress(OSError, ValueError):
                yield numpy_helper.from_array(constant.numpy(), value.name)
