"""Tell whether a file came quantised to int8, and how much its own rounding to int8 changes its outputs.

QuantizeLinear rounds an activation to one of 256 values, and DequantizeLinear returns it as float32. Two correct
implementations add up float32 in another order, so that now and then one of them rounds to the next value. In a deep network
a few such steps reach the outputs. They are allowed to differ by no more than the rounding itself changes them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from avizor_export.graph.logits import small_constants
from avizor_inference.arrays import Array
from avizor_inference.errors import ExportError

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Products of whole numbers.
_WHOLE = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})


def is_quantised(graph: onnx.GraphProto) -> bool:
    """Return whether products of the graph take quantised weights and activations.

    A graph that only stores its weights in int8 computes in float32, and so does one that only quantises its outputs.
    """
    operators = {node.op_type for node in graph.node}
    if operators & _WHOLE:
        return True
    dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    dequantised |= {node.output[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] in dequantised}
    products = (node for node in graph.node if node.op_type in _PRODUCTS)
    return "QuantizeLinear" in operators and any(dequantised.intersection(node.input) for node in products)


def refuse_dynamic(graph: onnx.GraphProto, where: object) -> None:
    """Raise ExportError for a graph that takes the range of an activation from all items of a batch together."""
    if any(node.op_type == "DynamicQuantizeLinear" for node in graph.node):
        raise ExportError(
            f"{where} is quantised dynamically: DynamicQuantizeLinear takes the range of a whole batch, so that its items "
            "influence each other; quantise it statically, with quantize_static(..., quant_format=QuantFormat.QDQ)"
        )


def without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph whose activations are not rounded to int8: only clipped, to the range that int8 has there.

    The clipping is part of the network: quantisers leave out a ReLU where the range begins at 0. Weights stay as the file has
    them.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    ranges = dict(_ranges(graph))
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in ranges:
            source, bounds = ranges[node.input[0]]
            names = [f"{node.input[0]}.{bound}" for bound in ("least", "largest")]
            if not any(tensor.name == names[0] for tensor in graph.initializer):
                arrays = (numpy_helper.from_array(bound, name) for bound, name in zip(bounds, names, strict=True))
                graph.initializer.extend(arrays)
            node.CopyFrom(helper.make_node("Clip", [source, *names], [node.output[0]], node.name))
    return plain


def _ranges(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[str, list[Array]]]]:
    """Yield each value that QuantizeLinear returns, with the value that it rounds, and the least and largest it can hold.

    Only those with one range for the whole tensor: others are weights.
    """
    constants = small_constants(graph)
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[1] not in constants or constants[node.input[1]].size != 1:
            continue
        scale = constants[node.input[1]].reshape(())
        has_zero = len(node.input) > 2 and node.input[2] in constants
        zero = constants[node.input[2]].reshape(()) if has_zero else np.uint8(0)
        limits = np.iinfo(zero.dtype)
        bounds = [np.array((limit - int(zero)) * scale, scale.dtype) for limit in (limits.min, limits.max)]
        yield node.output[0], (node.input[0], bounds)
