"""Follow the sizes of a graph while its batch is freed: with the frozen batch size, and with another one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.shape_inference import InferenceError

from avizor_export.networks.onnx_sizes import Shape, Sizes
from avizor_inference.arrays import Array
from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import FrozenBatch

# The other batch size is the frozen one times this prime, which no layer has as its size.
_OTHER = 10007
# Name of the value that holds the batch's size: int64[1].
BATCH = "avizor.batch"
# Operators that return sizes or types of their inputs, and not their rows.
_SIZES = ("Shape", "Size", "CastLike")


def refusal(node: onnx.NodeProto, why: str) -> FrozenBatch:
    """Return the error that names the node. why: goes on after its name."""
    return FrozenBatch(f"{node.op_type} {node.name or node.output[0]!r} {why}")


class Trace:
    """The nodes of the freed graph so far, and the sizes of their values.

    frozen: the batch size in the file. before: sizes for a batch of that size. after: for a batch of the other size. nodes: of
    the freed graph. constants: new ones of the freed graph.
    """

    def __init__(self, graph: onnx.GraphProto, frozen: int) -> None:
        constants = {tensor.name for tensor in graph.initializer}
        (value,) = (value for value in graph.input if value.name not in constants)
        item = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)[1:]
        self.frozen, self.input = frozen, value.name
        self.outputs = {output.name for output in graph.output}
        self.before = Sizes(graph, self.input, (frozen, *item))
        self.after = Sizes(graph, self.input, (frozen * _OTHER, *item))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._outer: dict[str, int] = {}
        self._made = 0

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node to the freed graph. Raises FrozenBatch if it cannot have another batch size."""
        self.before.add(node)
        try:
            self.after.add(node)
        except InferenceError as error:
            raise refusal(node, f"does not take another batch size: {_reason(error)}") from error
        self.nodes.append(node)
        self._follow_outer(node)

    def outer(self, name: str) -> int:
        """Return how many numbers there are of each row in the batch's dimension, outside the rows.

        A dimension of `outer * batch * inner` is what a Reshape makes of [outer, batch, inner].
        """
        return self._outer.get(name, 1)

    def set_outer(self, name: str, outer: int) -> None:
        """Say how often the batch is repeated in its dimension, for what a Reshape returns."""
        self._outer[name] = outer

    def _follow_outer(self, node: onnx.NodeProto) -> None:
        """Give the outputs the `outer` of an input whose batch dimension has the same size."""
        sizes = {}
        for name in self.batch_inputs(node):
            sizes[self._batch_size(name)] = self.outer(name)
        for name in node.output:
            if name and name not in self._outer and (outer := sizes.get(self._batch_size(name), 1)) > 1:
                self._outer[name] = outer

    def _batch_size(self, name: str) -> int | None:
        axis, shape = self.axis(name), self.before.shape(name)
        return None if axis is None or shape is None else shape[axis]

    def constant(self, values: Sequence[int] | Array) -> str:
        """Add a constant of whole numbers, int64, to the freed graph, and return its name."""
        tensor = numpy_helper.from_array(np.array(values, np.int64), self.name("sizes"))
        self.constants.append(tensor)
        self.before.add_constant(tensor)
        self.after.add_constant(tensor)
        return tensor.name

    def name(self, what: str) -> str:
        """Return a name for a new value."""
        self._made += 1
        return f"avizor.{what}.{self._made}"

    def node(self, operator: str, inputs: Sequence[str], what: str, **attributes: Any) -> str:
        """Add a new node with one output to the freed graph, and return the output's name."""
        output = self.name(what)
        self.add(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def axis(self, name: str) -> int | None:
        """Return the dimension of a value that grows with the batch; None if none does, or the value's shape is not known."""
        before, after = self.before.shape(name), self.after.shape(name)
        if before is None or after is None:
            return None
        return next((axis for axis, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), None)

    def batch_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Return which inputs of a node have a dimension that grows with the batch."""
        return [name for name in node.input if name and self.axis(name) is not None]

    def sizes(self, name: str) -> tuple[Array | None, Array | None]:
        """Return the numbers of a small tensor, for the frozen batch size and for the other one; None if not known."""
        return self.before.value(name), self.after.value(name)

    def scaled(self, shape: Shape, axis: int) -> Shape:
        """Return a shape for the other batch size. axis: the dimension that grows with the batch."""
        return (*shape[:axis], shape[axis] * _OTHER, *shape[axis + 1 :])

    def plain(self, node: onnx.NodeProto) -> dict[str, Shape | None] | None:
        """Return the shapes of the node's outputs for the other batch size, as it is; None if it does not take it."""
        try:
            return self.after.output_shapes(node)
        except InferenceError:
            return None

    def check(self, node: onnx.NodeProto) -> None:
        """Raise FrozenBatch if this node of the file, now added, combines rows of the batch with each other."""
        grows, known = False, True
        for name in filter(None, node.output):
            before, after = self.before.shape(name), self.after.shape(name)
            if before is None or after is None:
                known = False
                continue
            growing = [(one, other) for one, other in zip_longest(before, after) if one != other]
            grows = grows or bool(growing)
            if len(growing) > 1 or any(one is None or other != one * _OTHER for one, other in growing):
                raise refusal(node, f"combines rows of the batch with each other: it returns {list(before)}")
        if known and not grows and node.op_type not in _SIZES and self.batch_inputs(node):
            shape = list(self.before.shape(node.output[0]) or ())
            raise refusal(node, f"returns {shape} for a batch of any size: it takes some of its rows, or combines them")

    def check_output(self, name: str) -> None:
        """Raise FrozenBatch unless this output of the graph has a row for each item, as far as its shape is known."""
        before, after = self.before.shape(name), self.after.shape(name)
        if before is None or after is None:
            return
        if not before or after != self.scaled(before, 0) or before[0] != self.frozen:
            raise FrozenBatch(
                f"output {name!r}, {list(before)} for a batch of {self.frozen}, does not have one row for each item"
            )


def _reason(error: InferenceError) -> str:
    text = one_line(error)
    return shortened(text.rpartition("] ")[2] or text)
