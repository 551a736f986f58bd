"""Tell whether a classifier ends in logits, or has applied a softmax already.

A second softmax would change what the network was trained to return. Only the graph shows whether it has one already. Numbers
do not: probabilities that were quantised no longer sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.arrays import Array
from avizor_inference.errors import ExportError

# Name of what goes into the softmax or sigmoid, float[n, classes]. References return it beside their outputs: it is the scale
# on which probabilities are compared.
LOGITS = "logits"
# A reference returns this too, of any values, [n, 1], if sigmoids compute its probabilities: they are exact to other digits.
SIGMOID = "sigmoid"

# Operators that return their input, in another type or shape, or within bounds.
_PASSING = ("Identity", "Cast", "CastLike", "Dropout", "Clip", "QuantizeLinear", "DequantizeLinear")
_RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
# Operators that return their input where their other input is this number.
_NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}
SIGMOIDS = ("Sigmoid", "HardSigmoid")
# Largest constant that can be a bound or neutral: one number for each of very many classes.
_MOST_NUMBERS = 100_000
# How far the sum of a softmax may be from 1: in float32, and in float16 over many classes.
_SUM_TOLERANCE, _SOFTMAX_SUM_TOLERANCE = 1e-4, 1e-2


def are_probabilities(outputs: Array, tolerance: float = _SUM_TOLERANCE) -> bool:
    """Return whether outputs [n, classes] are those of a softmax: none is negative, and each row sums to 1."""
    wide = outputs.astype(np.float64)
    return wide.shape[1] > 1 and bool((wide >= 0).all()) and bool(np.allclose(wide.sum(axis=1), 1, rtol=0, atol=tolerance))


def are_scaled_probabilities(outputs: Array) -> bool:
    """Return whether outputs [n, classes] are probabilities times a number, such as percentages or the sum of two softmaxes.

    Logits are not: the sum of an item's logits differs from that of another.
    """
    sums = outputs.sum(axis=1, dtype=np.float64)
    differ = not np.allclose(outputs, outputs[0], rtol=1e-3, atol=0)
    return outputs.shape[1] > 1 and differ and are_probabilities(outputs / max(float(sums[0]), 1e-30))


def scaled_error(total: float) -> ExportError:
    """Return the error for probabilities that sum to another number than 1. total: their sum."""
    return ExportError(
        f"what the network returns is never negative and sums to {total:.6g} for every item, as scaled probabilities "
        "do; a softmax of them is wrong: let the network return logits, or the logarithm of its probabilities"
    )


def class_count(shape: Sequence[int]) -> int | None:
    """Return the number of classes K in the shape of an item's logits: [K], or with dimensions of 1 besides, as [K, 1, 1].

    None if it has several dimensions larger than 1, or none at all.
    """
    return max(shape) if shape and sum(size != 1 for size in shape) <= 1 else None


def producing_nodes(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """Return the node that computes a value, then the nodes whose outputs it passes on unchanged, from the last one backwards.

    The last node of the list is the one that computes something new.
    """
    producers = {output: node for node in graph.node for output in node.output}
    constants = small_constants(graph)
    chain: list[onnx.NodeProto] = []
    node = producers.get(name)
    while node is not None:
        chain.append(node)
        passed = passed_on(node, constants)
        node = producers.get(passed) if passed else None
    return chain


def has_softmax(graph: onnx.GraphProto, name: str, values: Mapping[str, Array]) -> bool:
    """Return whether outputs [n, classes] are probabilities, or were before they were quantised, clipped or cast.

    values: the graph's values for some items, by name: `name` and every value in `passed_on_values(graph, name)`.
    """
    shape = values[name].shape
    for node, inner in zip(producing_nodes(graph, name), passed_on_values(graph, name), strict=True):
        value = values[inner]
        tolerance = _SOFTMAX_SUM_TOLERANCE if node.op_type == "Softmax" else _SUM_TOLERANCE
        if value.size == values[name].size and are_probabilities(value.reshape(shape), tolerance):
            return True
    return False


def quantisation_step(graph: onnx.GraphProto, name: str) -> float:
    """Return the step to which the graph quantises a value before it is an output; 0 if it does not."""
    constants = small_constants(graph)
    scales = [node.input[1] for node in producing_nodes(graph, name) if node.op_type == "DequantizeLinear"]
    return max((float(constants[scale].max()) for scale in scales if scale in constants), default=0.0)


def passed_on_values(graph: onnx.GraphProto, name: str) -> list[str]:
    """Return the names of the values that differ from `name` only by type, shape, bounds and quantisation, `name` first."""
    constants = small_constants(graph)
    passed = (passed_on(node, constants) for node in producing_nodes(graph, name)[:-1])
    # Of a node with several outputs, `name` is not always the first.
    return [name, *(inner for inner in passed if inner)] if producing_nodes(graph, name) else []


def logits_of(graph: onnx.GraphProto) -> str | None:
    """Return the name of what goes into the softmax or sigmoid that computes `probabilities`; None if none does."""
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get("probabilities")
    return node.input[0] if node is not None and node.op_type in ("Softmax", *SIGMOIDS) else None


def softmax_error() -> ExportError:
    """Return the error for a torch module that ends in a softmax, with what to do."""
    return ExportError(
        "the network ends in a softmax; let it return logits: the softmax is added at export. If you cannot change the module, "
        "let a wrapper return the logarithm of its probabilities: their softmax is the probabilities again"
    )


def with_logits(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph that has the input of its softmax or sigmoids as a further output, named LOGITS.

    Returns the graph itself if it ends in neither.
    """
    logits = logits_of(proto.graph)
    if logits is None:
        return proto
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    whole.graph.node.append(helper.make_node("Identity", [logits], [LOGITS]))
    whole.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, None))
    return whole


def passed_on(node: onnx.NodeProto, constants: Mapping[str, Array]) -> str | None:
    """Return the name of the input that a node passes on; None if the node computes something new."""
    if node.op_type in (*_PASSING, *_RESHAPING) or (node.op_type == "Concat" and len(node.input) == 1):
        return node.input[0]
    if node.op_type in ("Min", "Max"):  # bounds
        rest = [name for name in node.input if name not in constants]
        return rest[0] if len(rest) == 1 else None
    if node.op_type in _NEUTRAL:
        neutral = [name for name in node.input if name in constants and (constants[name] == _NEUTRAL[node.op_type]).all()]
        rest = [name for name in node.input if name not in neutral]
        is_second = node.op_type in ("Mul", "Add") or neutral == [node.input[1]]
        return rest[0] if len(rest) == 1 and is_second else None
    return None


def small_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Return the constants of a graph by name, but for large weights."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    values = {name: _to_array(tensor) for name, tensor in tensors.items() if np.prod(tensor.dims) <= _MOST_NUMBERS}
    return {name: value for name, value in values.items() if value is not None}


def _to_array(tensor: onnx.TensorProto) -> Array | None:
    """Return the constant's values; None if its data does not fit its type or shape: ONNX Runtime then reports the details."""
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None
