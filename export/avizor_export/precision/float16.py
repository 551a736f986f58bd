"""Convert the network inside a graph to float16 with ONNX Runtime's converter. This helps on GPUs; CPUs are no faster."""

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
    """Return the graph with its network in float16, and the settings used. The network's inputs and outputs stay float32.

    Raises ExportError if the network cannot be converted.
    """
    try:
        part = convert_float_to_float16(extract_subgraph(proto), keep_io_types=True)
    except ExportError:
        raise
    except Exception as error:  # the library's errors share no base class
        raise ExportError(f"the network cannot be converted to float16: {one_line(error)}") from error
    settings: dict[str, JsonValue] = {
        "weights": "float16",
        "activations": "float16",
        "measured": "on the CPU, rounded to float16 after each operator",
        "onnxruntime": ort.__version__,
    }
    return replace_subgraph(proto, part), settings


def emulate_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph for a CPU that computes what the float16 graph computes on a GPU, by rounding each value of the network.

    ONNX Runtime has few float16 kernels for CPUs. Without a kernel it computes in float32 and omits the rounding in between.
    An overflow, the most common problem of float16, would then go unnoticed. In this graph, sums are float32 (as on tensor
    cores) and the output of each operator is rounded to float16: to infinity above 65504.
    """
    part = extract_subgraph(proto)
    floats = _float32_names(part)
    for tensor in part.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = np.clip(numpy_helper.to_array(tensor), -_LARGEST, _LARGEST)  # as the converter does
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), tensor.name))
    rounded_inputs = {value.name: f"{value.name}/entering" for value in part.graph.input if value.name in floats}
    nodes = [node for name, rounded in rounded_inputs.items() for node in _rounding_nodes(name, rounded)]
    for node in part.graph.node:
        node.input[:] = [rounded_inputs.get(name, name) for name in node.input]
        exact = {name: f"{name}/exact" for name in node.output if name in floats}
        node.output[:] = [exact.get(name, name) for name in node.output]
        nodes += [node, *(cast for name, unrounded in exact.items() for cast in _rounding_nodes(unrounded, name))]
    del part.graph.node[:]
    part.graph.node.extend(nodes)
    return replace_subgraph(proto, part)


def _rounding_nodes(name: str, rounded: str) -> list[onnx.NodeProto]:
    """Return nodes that round the value `name` to float16, and give it as float32 under the name `rounded`."""
    return [
        helper.make_node("Cast", [name], [f"{rounded}/half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{rounded}/half"], [rounded], to=TensorProto.FLOAT),
    ]


def _float32_names(part: onnx.ModelProto) -> set[str]:
    """Return the names of the values that are float32."""
    graph = onnx.shape_inference.infer_shapes(part, data_prop=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
