"""Compute the sizes that a graph computes from other sizes, so that the shapes that depend on them are known too.

onnx's shape inference follows sums and products of sizes, but neither quotients nor comparisons. Exporters write these for
halved channels and for broadcast shapes.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# Each round makes the shapes of one more stage known; networks do not have more stages than this.
_MOST_ROUNDS = 40
# Sizes, axes and scales have at most this many numbers. Larger constants are weights, whose values determine no shapes.
MOST_NUMBERS = 256
# Numbers of a value of one dimension up to which onnx may follow its numbers: those of a batch, a few for each item.
_LONGEST_LIST = 5_000_000
_ARITHMETIC = frozenset({"Add", "Div", "Equal", "Floor", "Max", "Min", "Mod", "Mul", "Neg", "ReduceProd", "Sub", "Where"})
_MOVES = frozenset({"Cast", "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
_FOLLOWED = _ARITHMETIC | _MOVES | {"Constant", "ConstantOfShape", "Shape"}

Known = dict[str, NDArray[np.generic]]


def with_sizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its shapes inferred. Raises onnx.shape_inference.InferenceError if the graph is damaged."""
    known: Known = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for _ in range(_MOST_ROUNDS):
        proto = _infer(proto)
        new = _new_values(proto, known)
        if not new:
            break
        kept = [node for node in proto.graph.node if not any(name in new for name in node.output)]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
        proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in new.items())
        known |= new
    return proto


def _infer(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its shapes inferred. Sums and products of sizes are followed, unless that takes too much memory.

    For these, onnx holds an object for each number of every value of one dimension. If a batch is flattened as a whole, as by
    torch's as_strided, these take many gigabytes.
    """
    inferred = onnx.shape_inference.infer_shapes(proto)
    shapes = [value.type.tensor_type.shape.dim for value in inferred.graph.value_info]
    if any(len(shape) == 1 and shape[0].dim_value > _LONGEST_LIST for shape in shapes):
        return inferred
    return onnx.shape_inference.infer_shapes(inferred, data_prop=True)


def _new_values(proto: onnx.ModelProto, known: Known) -> Known:
    """Return small values that can be computed from the known ones, and were not known before."""
    shapes = {value.name: value.type.tensor_type.shape for value in (*proto.graph.input, *proto.graph.value_info)}
    outputs = {value.name for value in proto.graph.output}
    new: Known = {}
    for node in proto.graph.node:
        if node.op_type not in _FOLLOWED or len(node.output) != 1 or node.output[0] in outputs:
            continue
        if node.op_type == "Shape":
            array = _shape(node, shapes.get(node.input[0]))
        else:
            inputs = {name: known[name] if name in known else new.get(name) for name in node.input if name}
            array = _value(node, {name: value for name, value in inputs.items() if value is not None}, proto, len(inputs))
        if array is not None:
            new[node.output[0]] = array
    return new


def _shape(node: onnx.NodeProto, shape: onnx.TensorShapeProto | None) -> NDArray[np.generic] | None:
    """Return the result of a Shape node; None if a size is not known."""
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    sizes = [dim.dim_value for dim in shape.dim][ends.get("start") : ends.get("end")] if shape is not None else []
    return np.array(sizes, np.int64) if sizes and all(size > 0 for size in sizes) else None


def _value(node: onnx.NodeProto, inputs: Known, proto: onnx.ModelProto, count: int) -> NDArray[np.generic] | None:
    """Return the output of a node; None if not all `count` inputs are known, or if the output is large."""
    if len(inputs) != count or (node.op_type in ("ConstantOfShape", "Expand") and not _is_small(list(inputs.values())[-1])):
        return None
    types = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in inputs.items()}
    declared = [helper.make_tensor_value_info(name, dtype, None) for name, dtype in types.items()]
    output = helper.make_tensor_value_info(node.output[0], onnx.TensorProto.UNDEFINED, None)
    graph = helper.make_graph([node], "size", declared, [output])
    try:
        (array,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=proto.opset_import)).run(None, inputs)
    except Exception:  # the evaluator's errors share no base class; a value that it cannot compute stays unknown
        return None
    return np.asarray(array) if isinstance(array, np.ndarray | np.generic) and array.size <= MOST_NUMBERS else None


def _is_small(shape: NDArray[np.generic]) -> bool:
    return math.prod(max(int(size), 1) for size in shape.flatten().tolist()) <= MOST_NUMBERS
