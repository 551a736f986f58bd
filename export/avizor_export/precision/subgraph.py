"""Extract the network inside an exported graph as a separate graph, to be rewritten, and put it back.

Only the flow of data decides what belongs to the network: every node with a weight of the network (`network.*`), and every node
on a path from one of these to another. So everything before the first weight (the front end) and after the last one (softmax,
reconstruction error) is left unchanged, whatever its operators are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
import onnx_ir as ir
from onnx import AttributeProto

from avizor_inference.errors import ExportError

WEIGHTS = "network."


def extract_subgraph(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network as a separate graph; its inputs and outputs are the tensors that cross its border, under their names.

    Raises ExportError if the graph has no weights, or if the type of a tensor at the border is not known.
    """
    inside, _ = _split(proto.graph)
    nodes = [proto.graph.node[index] for index in inside]
    produced, used = _names(node.output for node in nodes), _names(node.input for node in nodes)
    constants = {tensor.name for tensor in proto.graph.initializer}
    outside = [node for index, node in enumerate(proto.graph.node) if index not in inside]
    used_outside = _names(node.input for node in outside) | {value.name for value in proto.graph.output}
    types = _types(proto)
    part = onnx.ModelProto()
    part.CopyFrom(proto)
    _clear(part.graph)
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(tensor for tensor in proto.graph.initializer if tensor.name in used)
    part.graph.input.extend(_require_types(types, sorted(used - produced - constants)))
    part.graph.output.extend(_require_types(types, sorted(produced & used_outside)))
    return part


def with_output_copies(part: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part (changed in place), with a copy of each output that its own nodes use too.

    onnxruntime.quantization gives a value that only a ReLU uses the range of that ReLU's output. If such a value is an output
    of the part, all its negative values would become 0. The copy is a second use of the value, which prevents that.
    """
    used = _names(node.input for node in part.graph.node)
    inner = {value.name: f"{value.name}/inside" for value in part.graph.output if value.name in used}
    for node in part.graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
    part.graph.node.extend(onnx.helper.make_node("Identity", [new], [name]) for name, new in inner.items())
    return part


def replace_subgraph(proto: onnx.ModelProto, part: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its network replaced by `part`, which has the inputs and outputs of `extract_subgraph`."""
    inside, after = _split(proto.graph)
    outside = [index for index in range(len(proto.graph.node)) if index not in inside]
    first, last = ([proto.graph.node[index] for index in outside if (index in after) is is_after] for is_after in (False, True))
    used = _names(node.input for node in (*first, *last))
    constants = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.name in used}
    part = _sort_nodes(_rename_changed_constants(part, constants))
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    _clear(whole.graph)
    whole.graph.input.extend(proto.graph.input)
    whole.graph.output.extend(proto.graph.output)
    whole.graph.node.extend([*first, *part.graph.node, *last])
    whole.graph.initializer.extend(constants.values())
    whole.graph.initializer.extend(tensor for tensor in part.graph.initializer if tensor.name not in constants)
    return onnx.shape_inference.infer_shapes(whole, data_prop=True)


def _split(graph: onnx.GraphProto) -> tuple[set[int], set[int]]:
    """Return the indices of the nodes inside the network, and of all nodes that depend on one of its weights."""
    for node in graph.node:
        if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
            raise ExportError(
                f"{node.op_type} contains another graph; only networks without control flow can be rewritten; publish fp32"
            )
    weights = {tensor.name for tensor in graph.initializer if tensor.name.startswith(WEIGHTS)}
    weighted = {index for index, node in enumerate(graph.node) if weights & set(node.input)}
    if not weighted:
        raise ExportError("the graph has no weights of a network, so there is nothing to convert; publish fp32")
    after, reached = set(weighted), _names(graph.node[index].output for index in weighted)
    for index, node in enumerate(graph.node):  # in topological order, as ONNX demands
        if reached & set(node.input):
            after.add(index)
            reached.update(node.output)
    before, needed = set(weighted), _names(graph.node[index].input for index in weighted)
    for index in reversed(range(len(graph.node))):
        if needed & set(graph.node[index].output):
            before.add(index)
            needed.update(graph.node[index].input)
    return before & after, after


def _names(lists: Iterable[Iterable[str]]) -> set[str]:
    return {name for names in lists for name in names if name}


def _types(proto: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    return {value.name: value for value in (*inferred.value_info, *inferred.input, *inferred.output)}


def _require_types(types: dict[str, onnx.ValueInfoProto], names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    """Return the types of the named tensors. Raises ExportError if one is not known."""
    if missing := [name for name in names if name not in types]:
        raise ExportError(f"the type of {', '.join(missing)} in the graph is not known; publish fp32")
    return [types[name] for name in names]


def _clear(graph: onnx.GraphProto) -> None:
    for field in ("node", "initializer", "sparse_initializer", "input", "output", "value_info", "quantization_annotation"):
        graph.ClearField(field)


def _rename_changed_constants(part: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> onnx.ModelProto:
    """Rename the constants that the part changed and that the rest of the graph uses unchanged. Return the part."""
    renamed = {
        tensor.name: f"{WEIGHTS}{tensor.name}"
        for tensor in part.graph.initializer
        if tensor.name in constants and tensor != constants[tensor.name]
    }
    for tensor in part.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in part.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return part


def _sort_nodes(part: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part with its nodes after those that they depend on: tools append new nodes at the end."""
    model = ir.from_proto(part)
    model.graph.sort()
    return ir.to_proto(model)
