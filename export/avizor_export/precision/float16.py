"""The network inside a graph in float16, by the converter that comes with ONNX Runtime. For GPUs; CPUs gain nothing by it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from pydantic import JsonValue

from avizor_export.precision.subgraph import extract_subgraph, replace_subgraph
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError

_LARGEST = float(np.finfo(np.float16).max)


def to_float16(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, JsonValue]]:
    """The graph with its network in float16, and the settings used; the tensors that cross its border stay float32.

    Raises ExportError if the network cannot be converted.
    """
    try:
        part = convert_float_to_float16(extract_subgraph(proto), keep_io_types=True)
    except ExportError:
        raise
    except Exception as error:  # the library's errors share no base class
        raise ExportError(f"the network cannot be brought to float16: {one_line(error)}") from error
    settings: dict[str, JsonValue] = {
        "weights": "float16",
        "activations": "float16",
        "measured": "on the CPU, rounded to float16 after each operator",
        "onnxruntime": ort.__version__,
    }
    return replace_subgraph(proto, part), settings


def emulate_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A graph for a CPU that gives what the halved one gives on a GPU: each value of the network is rounded to float16.

    ONNX Runtime has few float16 kernels for CPUs. Where it has none it computes in float32 and leaves out the roundings in
    between, so that an overflow, which is what float16 mostly suffers from, would not be seen. Here sums are float32 as well
    (as on tensor cores), and what comes out of each operator is rounded, to infinity above 65504.
    """
    part = extract_subgraph(proto)
    floats = _floats(part)
    for tensor in part.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = np.clip(numpy_helper.to_array(tensor), -_LARGEST, _LARGEST)  # as the converter does
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), tensor.name))
    entering = {value.name: f"{value.name}/entering" for value in part.graph.input if value.name in floats}
    nodes = [node for name, new in entering.items() for node in _rounding(name, new)]
    for node in part.graph.node:
        node.input[:] = [entering.get(name, name) for name in node.input]
        exact = {name: f"{name}/exact" for name in node.output if name in floats}
        node.output[:] = [exact.get(name, name) for name in node.output]
        nodes += [node, *(each for name, new in exact.items() for each in _rounding(new, name))]
    del part.graph.node[:]
    part.graph.node.extend(nodes)
    return replace_subgraph(proto, part)


def _rounding(name: str, rounded: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [name], [f"{rounded}/half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{rounded}/half"], [rounded], to=TensorProto.FLOAT),
    ]


def _floats(part: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(part, data_prop=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
