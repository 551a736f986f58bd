"""Find out what the outputs of an ONNX file are: whether it applies an activation itself, and which value is its embedding."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np
import onnx
from onnx import TensorProto, helper

from avizor_export.graph.ends_in_sigmoid import ends_in_sigmoid, within_unit
from avizor_export.graph.heads import Head, given_softmax, head_for
from avizor_export.graph.logits import has_softmax
from avizor_export.networks.ml_operators import is_by_ml_operator
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Activation

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
    is_given = ends_in_sigmoid(graph, chosen) or (asked == "sigmoid" and is_by_ml_operator(graph, chosen))
    return head.as_given(asked) if is_given and within_unit(value) else head


def add_embedding_output(model: onnx.ModelProto, name: str, chosen: str) -> str:
    """Make a value, or the first output of a node, one of the graph's outputs, and return its name.

    chosen: the graph's main output. Raises ExportError if there is no such value, or it is the main output.
    """
    graph = model.graph
    values = {output for node in graph.node for output in node.output if output}
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
    if value not in {output.name for output in graph.output}:
        known = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
        graph.output.append(known.get(value) or helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    return value


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
