"""Read a graph so that all its weights are initializers, wherever the file has them.

A file may have weights in `Constant` nodes, as sparse tensors, and in functions and branches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx_ir.passes.common import InlinePass, LiftConstantsToInitializersPass

from avizor_export.description.computed_sizes import MOST_NUMBERS
from avizor_export.networks.ml_operators import without_maps
from avizor_inference.repository.onnx_graph import uses_ml_operators


def load_model(path: Path) -> ir.Model:
    """Return the model in a file; weights in files beside it are read when they are needed. Raises the readers' errors."""
    proto = onnx.load(path, load_external_data=False)
    if uses_ml_operators(proto):  # onnx_ir has no maps
        return model_from_proto(without_maps(onnx.load(path)))
    if not any(graph.sparse_initializer or _sparse_constants(graph) for graph in _graphs(proto.graph)):
        return ir.load(path)
    return model_from_proto(onnx.load(path))


def model_from_proto(proto: onnx.ModelProto) -> ir.Model:
    """Return the model, with dense tensors instead of sparse ones, which onnx_ir cannot read."""
    if any(graph.sparse_initializer or _sparse_constants(graph) for graph in _graphs(proto.graph)):
        original, proto = proto, onnx.ModelProto()
        proto.CopyFrom(original)
        for graph in _graphs(proto.graph):
            graph.initializer.extend(_dense(tensor) for tensor in graph.sparse_initializer)
            del graph.sparse_initializer[:]
            for node in _sparse_constants(graph):
                value = _dense(node.attribute[0].sparse_tensor)
                del node.attribute[:]
                node.attribute.append(helper.make_attribute("value", value))
    return ir.from_proto(proto)


def with_weights_as_initializers(model: ir.Model) -> ir.Model:
    """Change the model in place and return it: functions are inlined, and `Constant` nodes become initializers.

    A single number is usually not a weight, and stays a node.
    """
    if model.functions:
        InlinePass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=2)(model)
    return model


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph, and the branches and bodies in it at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ((attribute.g,) if attribute.HasField("g") else ()) + tuple(attribute.graphs):
                yield from _graphs(inner)


def _sparse_constants(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [
        node
        for node in graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("sparse_tensor")
    ]


def _dense(tensor: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Return a dense tensor of the same name, type and shape; with values only if it is small, since shapes may need them."""
    sizes, values = list(tensor.dims), numpy_helper.to_array(tensor.values)
    if math.prod(sizes) > MOST_NUMBERS:
        return onnx.TensorProto(name=tensor.values.name, data_type=tensor.values.data_type, dims=sizes)
    array, indices = np.zeros(sizes, values.dtype), numpy_helper.to_array(tensor.indices)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), sizes)
    array.reshape(-1)[flat] = values
    return numpy_helper.from_array(array, tensor.values.name)
