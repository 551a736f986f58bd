"""Follow the sizes of all values of an ONNX graph for a batch of one given size, node by node, without running the network.

Shape inference alone loses sizes that a graph computes itself (Shape, Gather, Concat, Reshape). Here the small tensors that
such nodes make are computed as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TypeProto, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from avizor_inference.arrays import Array
from avizor_inference.repository.onnx_graph import ML_DOMAIN, OPSET

Shape = tuple[int, ...]

# Larger tensors are not sizes, and their numbers are not followed.
_MOST_NUMBERS = 16384
_RANDOM = ("RandomNormal", "RandomUniform")
# Of the operators of scikit-learn, the newest that ONNX Runtime has.
_VERSIONS = {"": OPSET, ML_DOMAIN: 3}
_OPSETS = tuple(helper.make_opsetid(domain, version) for domain, version in _VERSIONS.items())


class Sizes:
    """Types, shapes and small values of a graph's tensors, by name, for one size of the batch.

    Nodes are added in the graph's order.
    """

    def __init__(self, graph: onnx.GraphProto, tensor: str, shape: Shape) -> None:
        """Begin with the graph's constants, and with its input: tensor and shape name it and give all its sizes."""
        self._types: dict[str, TypeProto] = {}
        self._values: dict[str, onnx.TensorProto] = {}
        for constant in graph.initializer:
            self.add_constant(constant)
        for value in graph.input:
            if value.name == tensor:
                self._types[tensor] = helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shape)

    def add_constant(self, constant: onnx.TensorProto) -> None:
        """Add a constant of the graph."""
        self._types[constant.name] = helper.make_tensor_type_proto(constant.data_type, constant.dims)
        if np.prod(constant.dims, dtype=np.int64) <= _MOST_NUMBERS and not constant.external_data:
            self._values[constant.name] = constant

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node. Raises onnx.shape_inference.InferenceError if it does not take values of these sizes."""
        self._types.update(self.inferred(node))
        self._values.update(self._computed(node))

    def inferred(self, node: onnx.NodeProto) -> Mapping[str, TypeProto]:
        """Return the types of a node's outputs, without adding it. Raises onnx.shape_inference.InferenceError."""
        if any(name and name not in self._types for name in node.input):
            return {}  # after a node whose output is of no known type
        has_graphs = any(attribute.HasField("g") for attribute in node.attribute)
        types = self._types if has_graphs else {name: self._types[name] for name in node.input if name}
        data = {name: self._values[name] for name in node.input if name in self._values}
        schema = defs.get_schema(node.op_type, _VERSIONS.get(node.domain, OPSET), node.domain)
        return shape_inference.infer_node_outputs(schema, node, dict(types), data, opset_imports=list(_OPSETS))

    def output_shapes(self, node: onnx.NodeProto) -> dict[str, Shape | None]:
        """Return the shapes of a node's outputs by name, None where not known. Raises onnx.shape_inference.InferenceError."""
        types = self.inferred(node)
        return {name: shape_of(types.get(name)) for name in node.output if name}

    def shape(self, name: str) -> Shape | None:
        """Return a value's shape; None if it is not known."""
        return shape_of(self._types.get(name))

    def value(self, name: str) -> Array | None:
        """Return a small tensor's numbers; None if they are not known."""
        return numpy_helper.to_array(self._values[name]) if name in self._values else None

    def _computed(self, node: onnx.NodeProto) -> Mapping[str, onnx.TensorProto]:
        if node.op_type in ("Shape", "Size"):
            shape = self.shape(node.input[0])
            inputs = None if shape is None else {node.input[0]: np.broadcast_to(np.float32(0), shape)}
        else:
            known = all(not name or name in self._values for name in node.input)
            inputs = {name: numpy_helper.to_array(self._values[name]) for name in node.input if name} if known else None
        small = all(
            (shape := self.shape(name)) is not None and np.prod(shape, dtype=np.int64) <= _MOST_NUMBERS
            for name in node.output
            if name
        )
        if (
            inputs is None
            or not small
            or node.op_type in _RANDOM
            or any(attribute.HasField("g") for attribute in node.attribute)
        ):
            return {}
        return _run(node, inputs)


def shape_of(kind: TypeProto | None) -> Shape | None:
    """Return the shape in a type; None if it is not a tensor's, or a size is missing."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None


def _run(node: onnx.NodeProto, inputs: Mapping[str, Array]) -> Mapping[str, onnx.TensorProto]:
    names = [name for name in node.output if name]
    graph = helper.make_graph([node], "one node", [_untyped(name) for name in inputs], [_untyped(name) for name in names])
    try:
        values = ReferenceEvaluator(helper.make_model(graph, opset_imports=_OPSETS)).run(names, dict(inputs))
        return {name: numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, values, strict=True)}
    except Exception:  # the evaluator's errors share no base class; a value that is not known is no fault
        return {}


def _untyped(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)
