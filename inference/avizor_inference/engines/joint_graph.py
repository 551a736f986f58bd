"""Join ONNX models of one input into one model, whose equal weights are there once.

ONNX Runtime then computes once what all of them do with that input: it finds nodes of the same operator, attributes and inputs
("Common Subexpression Elimination" in https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

_Weights = dict[tuple[int, tuple[int, ...], bytes], str]


def joint_output(model: str, output: str) -> str:
    """Return the name that an output of a model has in the joint model."""
    return f"{model}/{output}"


def join_graphs(files: Mapping[str, Path]) -> onnx.ModelProto | None:
    """Return one model with the outputs of all, under the names of `joint_output`; None if they cannot be joined so simply.

    files: model.onnx by name of two or more models, whose inputs have the same type and shape. The joint input has the first
    one's name. Not joined are models of different operator sets, with parts in other files, or with nested graphs.
    Raises OSError or DecodeError if a file cannot be read.
    """
    models = {name: onnx.load(file, load_external_data=False) for name, file in files.items()}
    first = next(iter(models.values()))
    if any(_is_nested(model) or model.opset_import != first.opset_import for model in models.values()):
        return None
    joint = onnx.ModelProto(ir_version=max(model.ir_version for model in models.values()), opset_import=first.opset_import)
    joint.graph.name = "+".join(models)
    joint.graph.input.append(first.graph.input[0])
    weights: _Weights = {}
    for name, model in models.items():
        _add(joint.graph, name, model.graph, weights)
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


def _add(joint: onnx.GraphProto, model: str, graph: onnx.GraphProto, weights: _Weights) -> None:
    """Add the nodes, weights and outputs of a graph. Only its input and weights that are there already keep one name.

    The name of an input or output of a node that is left out is empty.
    """
    names = {"": "", graph.input[0].name: joint.input[0].name}
    for tensor in graph.initializer:
        own = joint_output(model, tensor.name)
        content = _content(tensor)
        names[tensor.name] = weights.setdefault(content, own) if content else own
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


def _content(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes] | None:
    """Return type, shape and bytes of a tensor; None if its values are not kept as bytes."""
    return (tensor.data_type, tuple(tensor.dims), tensor.raw_data) if tensor.HasField("raw_data") else None
