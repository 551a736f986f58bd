"""A graph whose weights all are initializers: wherever a file keeps them, they are found in one place.

A file may keep weights in `Constant` nodes, as sparse tensors, and in functions and branches of its own.
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


def load_model(path: Path) -> ir.Model:
    """The model in a file; numbers that lie beside it are read where they are needed. Raises what its readers raise."""
    proto = onnx.load(path, load_external_data=False)
    if not any(graph.sparse_initializer or _sparse_constants(graph) for graph in _graphs(proto.graph)):
        return ir.load(path)
    return model_from_proto(onnx.load(path))


def model_from_proto(proto: onnx.ModelProto) -> ir.Model:
    """The model, with dense tensors instead of sparse ones, which the reader does not know."""
    if any(graph.sparse_initializer or _sparse_constants(graph) for graph in _graphs(proto.graph)):
        whole = onnx.ModelProto()
        whole.CopyFrom(proto)
        proto = whole
        for graph in _graphs(proto.graph):
            graph.initializer.extend(_dense(each) for each in graph.sparse_initializer)
            del graph.sparse_initializer[:]
            for node in _sparse_constants(graph):
                value = _dense(node.attribute[0].sparse_tensor)
                del node.attribute[:]
                node.attribute.append(helper.make_attribute("value", value))
    return ir.from_proto(proto)


def with_weights_as_initializers(model: ir.Model) -> ir.Model:
    """The same model, changed in place: functions written out, and what `Constant` nodes hold among the initializers.

    One number is mostly no weight, and stays a node.
    """
    if model.functions:
        InlinePass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=2)(model)
    return model


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
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
    """Its name, type and shape; the numbers only of a small one, from which shapes may follow."""
    sizes, values = list(tensor.dims), numpy_helper.to_array(tensor.values)
    if math.prod(sizes) > MOST_NUMBERS:
        return onnx.TensorProto(name=tensor.values.name, data_type=tensor.values.data_type, dims=sizes)
    whole, places = np.zeros(sizes, values.dtype), numpy_helper.to_array(tensor.indices)
    flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), sizes)
    whole.reshape(-1)[flat] = values
    return numpy_helper.from_array(whole, tensor.values.name)
