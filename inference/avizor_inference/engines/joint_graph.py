"""Join ONNX models of one input into one model, whose equal weights are there once.

ONNX Runtime then computes once what all of them do with that input: it finds nodes of the same operator, attributes and inputs
("Common Subexpression Elimination" in https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import onnx


def joint_output(model: str, output: str) -> str:
    """Return the name that an output of a model has in the joint model."""
    return f"{model}/{output}"


def join_graphs(files: Mapping[str, Path]) -> onnx.ModelProto | None:
    """Return one model with the outputs of all, under the names of `joint_output`; None if they cannot be joined so simply.

    files: model.onnx by name of two or more models, whose inputs have the same type and shape. The joint input has the first
    one's name. Not joined are models of different operator sets, with parts in other files, or with nested graphs.
    Raises OSError or DecodeError if a file cannot be read.
    """
    joint = onnx.ModelProto()
    joint.graph.name = "+".join(files)
    for name, file in files.items():  # one after the other, so that not all are in memory
        model = onnx.load(file, load_external_data=False)
        if not joint.graph.input:
            joint.opset_import.extend(model.opset_import)
            joint.graph.input.append(model.graph.input[0])
        if _is_nested(model) or model.opset_import != joint.opset_import:
            return None
        joint.ir_version = max(joint.ir_version, model.ir_version)
        _add(joint.graph, name, model.graph)
    return joint


def _is_nested(model: onnx.ModelProto) -> bool:
    """Return whether names of the model are in other places than its nodes and weights."""
    return bool(
        model.functions
        or model.graph.sparse_initializer
        or len(model.graph.input) != 1
        or not {output.name for output in model.graph.output} <= {name for node in model.graph.node for name in node.output}
        or any(tensor.external_data for tensor in model.graph.initializer)
        or any(each.HasField("g") or each.graphs for node in model.graph.node for each in node.attribute)
    )


def _add(joint: onnx.GraphProto, model: str, graph: onnx.GraphProto) -> None:
    """Add the nodes, weights and outputs of a graph. Only its input and weights that are there already keep one name.

    The name of an input or output of a node that is left out is empty.
    """
    names = {"": "", graph.input[0].name: joint.input[0].name}
    there = defaultdict(list)
    for tensor in joint.initializer:
        there[_shape(tensor)].append(tensor)
    for tensor in graph.initializer:
        own = joint_output(model, tensor.name)
        names[tensor.name] = next((each.name for each in there[_shape(tensor)] if _are_equal(each, tensor)), own)
        if names[tensor.name] == own:
            tensor.name = own
            joint.initializer.append(tensor)
    for node in graph.node:
        inputs = [names.get(name, joint_output(model, name)) for name in node.input]
        outputs = [name and joint_output(model, name) for name in node.output]
        node.input[:], node.output[:] = inputs, outputs
        node.name = node.name and joint_output(model, node.name)
        joint.node.append(node)
    for output in graph.output:
        output.name = joint_output(model, output.name)
        joint.output.append(output)


def _shape(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...]]:
    return tensor.data_type, tuple(tensor.dims)


def _are_equal(tensor: onnx.TensorProto, other: onnx.TensorProto) -> bool:
    """Return whether the values of two tensors are kept as bytes, and equal."""
    return tensor.HasField("raw_data") and other.HasField("raw_data") and bool(tensor.raw_data == other.raw_data)
