"""How a classifier ends: in logits, or in what has been through a softmax or a sigmoid already.

A second softmax would be served as something else than was trained. Whether there is one before it is seen in the graph, since
numbers alone do not tell: probabilities that were quantised no longer sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.arrays import Array
from avizor_inference.errors import ExportError

# Name of what goes into the softmax, float[n, classes]: references return it beside their outputs, as the scale by which
# probabilities are compared.
LOGITS = "logits"

# They give what they are given, in another type or shape, or within bounds.
_PASSING = ("Identity", "Cast", "CastLike", "Dropout", "Clip", "QuantizeLinear", "DequantizeLinear")
_RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
# They do so where their other input is that number.
_NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}
_SIGMOIDS = ("Sigmoid", "HardSigmoid")
# Of a constant that is a bound, or neutral: one for each of very many classes.
_MOST_NUMBERS = 100_000
# How far the sum of a softmax is from 1: in float32, and in float16 over many classes.
_SUM, _SUM_OF_SOFTMAX = 1e-4, 1e-2


def are_probabilities(outputs: Array, tolerance: float = _SUM) -> bool:
    """Whether outputs [n, classes] have been through a softmax already: none is negative, and each row sums to 1."""
    wide = outputs.astype(np.float64)
    return wide.shape[1] > 1 and bool((wide >= 0).all()) and bool(np.allclose(wide.sum(axis=1), 1, rtol=0, atol=tolerance))


def producing_nodes(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """The node that makes a value, and before it those whose outputs it passes on, the last of which does more than that."""
    producers = {output: node for node in graph.node for output in node.output}
    constants = _small_constants(graph)
    chain: list[onnx.NodeProto] = []
    node = producers.get(name)
    while node is not None:
        chain.append(node)
        passed = _passed_on(node, constants)
        node = producers.get(passed) if passed else None
    return chain


def has_softmax(graph: onnx.GraphProto, name: str, values: Mapping[str, Array]) -> bool:
    """Whether outputs [n, classes] are probabilities, or were before they were quantised, clipped or cast.

    values: by name what the graph gives for some items, of `name` and of every value in `passed_on_values(graph, name)`.
    """
    shape = values[name].shape
    for node in producing_nodes(graph, name):
        value = values[node.output[0]]
        tolerance = _SUM_OF_SOFTMAX if node.op_type == "Softmax" else _SUM
        if value.size == values[name].size and are_probabilities(value.reshape(shape), tolerance):
            return True
    return False


def quantisation_step(graph: onnx.GraphProto, name: str) -> float:
    """The step to which a value is quantised on the way to its end; 0 where it is not."""
    constants = _small_constants(graph)
    scales = [node.input[1] for node in producing_nodes(graph, name) if node.op_type == "DequantizeLinear"]
    return max((float(constants[scale].max()) for scale in scales if scale in constants), default=0.0)


def passed_on_values(graph: onnx.GraphProto, name: str) -> list[str]:
    """Names of the values that `name` is but for type, shape, bounds and quantisation; itself first."""
    return [node.output[0] for node in producing_nodes(graph, name)]


def check_ends_in_logits(proto: onnx.ModelProto) -> None:
    """Raise ExportError if the softmax that gives `probabilities` is over the outputs of a sigmoid or of another softmax."""
    last = producing_nodes(proto.graph, "probabilities")[:1]
    before = producing_nodes(proto.graph, last[0].input[0]) if last and last[0].op_type == "Softmax" else []
    if before and before[-1].op_type in _SIGMOIDS:
        raise ExportError(
            "the network ends in a sigmoid; let it return logits, of which exactly one class is right: the softmax is added at "
            "export. For two classes by one logit z return [0, z]; several labels at once are not served"
        )
    if before and before[-1].op_type == "Softmax":
        raise softmax_error()


def softmax_error() -> ExportError:
    """Of a torch module: what it is and what to do."""
    return ExportError(
        "the network ends in a softmax; let it return logits: the softmax is added at export. A module that you cannot change "
        "may return the logarithm of its probabilities, whose softmax they are"
    )


def with_logits(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with what goes into its last softmax as an output more, named LOGITS; itself where there is no such softmax."""
    chain = producing_nodes(proto.graph, "probabilities")
    if not chain or chain[0].op_type != "Softmax":
        return proto
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    whole.graph.node.append(helper.make_node("Identity", [chain[0].input[0]], [LOGITS]))
    whole.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, None))
    return whole


def _passed_on(node: onnx.NodeProto, constants: Mapping[str, Array]) -> str | None:
    """The name of the input that a node gives again; None where it does more."""
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


def _small_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    values = {name: _value(each) for name, each in found.items() if np.prod(each.dims) <= _MOST_NUMBERS}
    return {name: value for name, value in values.items() if value is not None}


def _value(tensor: onnx.TensorProto) -> Array | None:
    """The constant; None if its data does not fit its type or shape, of which ONNX Runtime says more."""
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None
