"""List a network's layers from its ONNX graph: output shape, receptive field, parameters, multiply-adds.

So the same rules describe a torch module, an exported program, a published model and a file from elsewhere.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace

import onnx
import onnx_ir as ir

from avizor_export.description.layer import Layer
from avizor_export.description.operators import NOT_COUNTED, layer_of_node, other, product
from avizor_export.description.receptive_field import START, Reach, join
from avizor_export.description.shapes import Shapes
from avizor_export.description.stored_weights import model_from_proto, with_weights_as_initializers
from avizor_export.description.weights import Weight, Weights, name_of, norm_inside
from avizor_export.networks.ml_operators import trained_numbers
from avizor_inference.repository.onnx_graph import ML_DOMAIN

_JOINS = {"Add", "Concat", "Sum"}
_SCOPES = "pkg.torch.onnx.name_scopes"


def layers_of(model: ir.Model, words: Mapping[str, str] | None = None, *, front_end: bool = False) -> list[Layer]:
    """Return the layers of a model, in the order of its graph, by default without front ends and scores.

    Each weight is counted once, in the first layer that uses it; weights that branches and bodies have or use are counted in
    the layer of their node. The model may be changed in place. words: the word of the spec, by module name.
    """
    model = with_weights_as_initializers(model)
    graph, shapes = model.graph, Shapes(model)
    weights = Weights(graph, front_end=front_end)
    reaches: dict[ir.Value, Reach] = {}
    layers: list[Layer] = []
    index_of: dict[ir.Node, int] = {}  # index in `layers` of a node's layer
    for node in graph:
        inputs = _variable_inputs(node, weights)
        before = join([reaches.get(value, START) for value in inputs], _is_join(node, weights))
        used = weights.of(node)
        is_product = node.op_type == "MatMul" and len(inputs) == 2
        layer, after = product(node, before, shapes) if is_product else layer_of_node(node, before, used, shapes)
        reaches.update(dict.fromkeys(node.outputs, after))
        if node.domain == ML_DOMAIN and (trained := trained_numbers(ir.to_proto(node))):
            # Its weights are attributes, and how many of them an item uses depends on the item.
            layers.append(replace(other(node, after, used, shapes), field=None, parameters=trained, multiply_adds=None))
        elif layer is not None:
            counted = used[:2] if node.op_type == "BatchNormalization" else used  # its mean and variance are not parameters
            numbers, again = weights.count(counted)
            index_of[node] = len(layers)
            layer = replace(layer, parameters=numbers, again=again, norm_inside=norm_inside(counted))
            layers.append(replace(layer, beside_join=_is_beside_join(node, weights), word=_word(node, words or {})))
        elif used and any(counts := weights.count(used)):
            numbers, again = counts
            index = _layer_of_bias(node, used, inputs, index_of, layers)
            if index is not None:
                layer = layers[index]
                layers[index] = replace(layer, parameters=layer.parameters + numbers, again=layer.again + again)
            elif numbers:
                index_of[node] = len(layers)
                layers.append(replace(other(node, after, used, shapes), parameters=numbers, again=again))
    return layers


def parameters_of(proto: onnx.ModelProto) -> int:
    """Return how many numbers the layers of a graph have in their weights."""
    return sum(layer.parameters for layer in layers_of(model_from_proto(proto)))


def multiply_adds_of(proto: onnx.ModelProto) -> int | None:
    """Return the multiply-adds of one item in a graph, front end included; None if the graph does not show all of them."""
    model = model_from_proto(proto)
    if any(node.op_type in NOT_COUNTED for node in model.graph):
        return None
    counts = [layer.multiply_adds for layer in layers_of(model, front_end=True)]
    return None if None in counts else sum(count for count in counts if count is not None)


def _layer_of_bias(
    node: ir.Node, used: list[Weight], inputs: list[ir.Value], index_of: Mapping[ir.Node, int], layers: list[Layer]
) -> int | None:
    """Return the index of the layer whose product the weights are added to, or else of the last layer of the same module."""
    producer = inputs[0].producer() if len(inputs) == 1 else None
    if node.op_type == "Add" and producer in index_of and producer is not None and producer.op_type in ("MatMul", "Conv"):
        return index_of[producer]
    name = name_of(node, used)
    return next((index for index in reversed(range(len(layers))) if layers[index].name == name), None)


def _variable_inputs(node: ir.Node, weights: Weights) -> list[ir.Value]:
    """Return the inputs of a node that depend on the graph's input."""
    return [value for value in node.inputs if value is not None and not weights.is_fixed(value)]


def _is_join(node: ir.Node, weights: Weights) -> bool:
    """Tell whether a node joins several values that depend on the graph's input."""
    return node.op_type in _JOINS and len(_variable_inputs(node, weights)) > 1


def _is_beside_join(node: ir.Node, weights: Weights) -> bool:
    """Tell whether a node's output is joined with another branch, at once or after a batch norm."""
    users = [usage.node for usage in node.outputs[0].uses()]
    if len(users) == 1 and users[0].op_type == "BatchNormalization":
        users = [usage.node for usage in users[0].outputs[0].uses()]
    return any(_is_join(user, weights) for user in users)


def _word(node: ir.Node, words: Mapping[str, str]) -> str:
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]")) if words else []
    return words.get(scopes[-2], "") if len(scopes) > 1 else ""
