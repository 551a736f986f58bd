"""Find out what the outputs of an ONNX file are: whether it applies an activation itself, and which value is its embedding."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np
import onnx
from onnx import TensorProto, helper

from avizor_export.graph.changed_probabilities import changed_probabilities, is_part_of_softmax
from avizor_export.graph.ends_in_sigmoid import ends_in_sigmoid, within_unit
from avizor_export.graph.heads import Head, given_softmax, head_for
from avizor_export.graph.logits import has_softmax
from avizor_export.networks.ml_operators import is_made_by_ml_operators
from avizor_export.networks.onnx_opening import OpenedFile
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Activation

# Before each name of the file's own graph, once it has a front end and a head.
PREFIX = "network."

_MOST_LISTED = 8


def head_of(graph: onnx.GraphProto, chosen: str, values: Mapping[str, Items], asked: Activation | None) -> Head:
    """Return how the chosen output becomes probabilities. values: the graph's values for some items, as `has_softmax` needs
    them.

    asked: the user's choice, if any. Raises ExportError if it contradicts the graph.
    """
    value = values[chosen]
    if value.ndim == 2 and has_softmax(graph, chosen, values):
        return given_softmax(asked)
    head = head_for(value.shape[1] if value.ndim == 2 else 1, asked)
    is_given = (
        ends_in_sigmoid(graph, chosen)
        or (asked == "sigmoid" and is_made_by_ml_operators(graph, chosen))
        or (value.shape[1:] in ((), (1,)) and is_part_of_softmax(graph, chosen))
    )
    if is_given and within_unit(value):
        return head.as_given(asked)
    if changed := changed_probabilities(graph, chosen):
        message = (
            f"the file returns {changed}: neither probabilities nor logits, and a softmax or sigmoid of them is wrong; take "
            f"them as they were before it: --output {changed.before}"
        )
        raise ExportError(message.replace(PREFIX, ""))
    return head


def with_output(opened: OpenedFile, name: str | None) -> OpenedFile:
    """Return the file with the value of `--output` as one of its outputs, if it computes a value of this name inside."""
    models = (opened.file, opened.proto)
    if name is None or name in opened.outputs or any(name not in _computed(model.graph) for model in models):
        return opened
    extended = copy.deepcopy(opened)
    for model in (extended.file, extended.proto):
        _add_output(model, name)
    return extended


def add_embedding_output(model: onnx.ModelProto, name: str, chosen: str) -> str:
    """Make a value, or the first output of a node, one of the graph's outputs, and return its name.

    chosen: the graph's main output. Raises ExportError if there is no such value, or it is the main output.
    """
    graph = model.graph
    values = _computed(graph)
    nodes = {node.name: node.output[0] for node in graph.node if node.name}
    value = name if name in values else nodes.get(name)
    if value is None:
        near = (
            get_close_matches(name, [*values, *nodes], n=_MOST_LISTED)
            or [node.output[0] for node in graph.node][-_MOST_LISTED:]
        )
        raise ExportError(
            f"--embedding {name}: the file computes no value and has no node of this name; near it: {', '.join(near)}"
        )
    if value == chosen:
        raise ExportError(f"--embedding {name}: this is the output that the model returns already; name a value before it")
    _add_output(model, value)
    return value


def _computed(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the values that the nodes of a graph compute."""
    return {output for node in graph.node for output in node.output if output}


def _add_output(model: onnx.ModelProto, value: str) -> None:
    """Make a value that the graph computes one of its outputs, if it is not one yet."""
    if value not in {output.name for output in model.graph.output}:
        known = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
        model.graph.output.append(known.get(value) or helper.make_tensor_value_info(value, TensorProto.FLOAT, None))


def embedding_nodes(name: str, value: Items, items: int) -> tuple[list[onnx.NodeProto], tuple[int, ...]]:
    """Return nodes that compute `embedding` from the value of this name, flattened, and its item shape.

    value: what the graph computes for `items` items. Raises ExportError unless it has a row of numbers for each.
    """
    if value.ndim < 2 or len(value) != items:
        raise ExportError(
            f"the value to be the embedding is {list(value.shape)} for {items} items; name one with a row for each item"
        )
    if not np.issubdtype(value.dtype, np.floating):
        raise ExportError(f"the value to be the embedding is {value.dtype}; name one of floating-point numbers")
    nodes = [
        helper.make_node("Cast", [name], ["avizor.embedding"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["avizor.embedding", "avizor.rows"], ["embedding"]),
    ]
    return nodes, (value[0].size,)
