"""Cut an ONNX graph down to what some of its outputs need."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

from avizor_export.networks.onnx_nodes import inner_graphs, with_inner_nodes


def cut_to_outputs(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the graph without what these outputs do not need. Values that a branch or body uses from around it are needed."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed.update(name for inner in with_inner_nodes(node) for name in inner.input)
            needed.update(output.name for inner in inner_graphs(node) for output in inner.output)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    nodes, more_constants = _constants_to_initializers(nodes, outputs)
    initializers = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in graph.output}
    cut = helper.make_graph(
        nodes[::-1],
        graph.name,
        [value for value in graph.input if value.name not in initializers],
        [values[name] for name in outputs],
        constants + more_constants,
        value_info=[value for value in graph.value_info if value.name in needed],
        sparse_initializer=graph.sparse_initializer,
    )
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)


def _constants_to_initializers(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the other nodes, and the weights of `Constant` nodes as initializers, where int8 looks for them."""
    others, weights = [], []
    for node in nodes:
        is_weight = node.op_type == "Constant" and node.output[0] not in outputs and node.attribute[0].name == "value"
        if is_weight and len(node.attribute[0].t.dims):
            weights.append(onnx.TensorProto())
            weights[-1].CopyFrom(node.attribute[0].t)
            weights[-1].name = node.output[0]
        else:
            others.append(node)
    return others, weights
