"""Sizes that a graph computes from other sizes, worked out, so that the shapes which depend on them are known as well.

onnx's shape inference follows sums and products of sizes, but neither quotients nor comparisons, which exporters write for
halved channels and for shapes that are broadcast.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# A network has no more stages than that, each of whose shapes is known only once those of the one before are.
_MOST_ROUNDS = 40
# Sizes, axes and scales are small; weights say nothing of shapes but by their own.
MOST_NUMBERS = 256
_ARITHMETIC = frozenset({"Add", "Div", "Equal", "Floor", "Max", "Min", "Mod", "Mul", "Neg", "ReduceProd", "Sub", "Where"})
_MOVES = frozenset({"Cast", "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
_FOLLOWED = _ARITHMETIC | _MOVES | {"Constant", "ConstantOfShape", "Shape"}

Known = dict[str, NDArray[np.generic]]


def with_sizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its shapes inferred (onnx.shape_inference). Raises InferenceError of onnx where the graph is damaged."""
    known: Known = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    for _ in range(_MOST_ROUNDS):
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        fresh = _worked_out(proto, known)
        if not fresh:
            break
        kept = [node for node in proto.graph.node if not any(name in fresh for name in node.output)]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
        proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in fresh.items())
        known |= fresh
    return proto


def _worked_out(proto: onnx.ModelProto, known: Known) -> Known:
    """Small values that follow from what is known, and were not known before."""
    shapes = {value.name: value.type.tensor_type.shape for value in (*proto.graph.input, *proto.graph.value_info)}
    outputs = {value.name for value in proto.graph.output}
    fresh: Known = {}
    for node in proto.graph.node:
        if node.op_type not in _FOLLOWED or len(node.output) != 1 or node.output[0] in outputs:
            continue
        if node.op_type == "Shape":
            array = _shape(node, shapes.get(node.input[0]))
        else:
            given = {name: known[name] if name in known else fresh.get(name) for name in node.input if name}
            array = _value(node, {name: each for name, each in given.items() if each is not None}, proto, len(given))
        if array is not None:
            fresh[node.output[0]] = array
    return fresh


def _shape(node: onnx.NodeProto, shape: onnx.TensorShapeProto | None) -> NDArray[np.generic] | None:
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    sizes = [dim.dim_value for dim in shape.dim][ends.get("start") : ends.get("end")] if shape is not None else []
    return np.array(sizes, np.int64) if sizes and all(size > 0 for size in sizes) else None


def _value(node: onnx.NodeProto, given: Known, proto: onnx.ModelProto, count: int) -> NDArray[np.generic] | None:
    if len(given) != count or (node.op_type in ("ConstantOfShape", "Expand") and not _is_small(list(given.values())[-1])):
        return None
    types = {name: helper.np_dtype_to_tensor_dtype(each.dtype) for name, each in given.items()}
    inputs = [helper.make_tensor_value_info(name, dtype, None) for name, dtype in types.items()]
    output = helper.make_tensor_value_info(node.output[0], onnx.TensorProto.UNDEFINED, None)
    graph = helper.make_graph([node], "size", inputs, [output])
    try:
        (array,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=proto.opset_import)).run(None, given)
    except Exception:  # the evaluator's errors share no base class; what it cannot work out stays unknown
        return None
    return np.asarray(array) if isinstance(array, np.ndarray | np.generic) and array.size <= MOST_NUMBERS else None


def _is_small(shape: NDArray[np.generic]) -> bool:
    return math.prod(max(int(size), 1) for size in shape.flatten().tolist()) <= MOST_NUMBERS
