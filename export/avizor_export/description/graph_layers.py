"""A network layer by layer: output shape, receptive field, parameters, multiply-adds. Read from its ONNX graph.

So that a torch module, an exported program, a published model and a model from elsewhere are all described by the same rules.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace

import onnx
import onnx_ir as ir

from avizor_export.description.layer import Layer
from avizor_export.description.operators import layer_of_node, other, product
from avizor_export.description.receptive_field import START, Reach, join
from avizor_export.description.shapes import Shapes
from avizor_export.description.stored_weights import model_from_proto, with_weights_as_initializers
from avizor_export.description.weights import Weight, Weights, name_of, norm_inside

_JOINS = {"Add", "Concat", "Sum"}
_SCOPES = "pkg.torch.onnx.name_scopes"


def layers_of(model: ir.Model, words: Mapping[str, str] | None = None) -> list[Layer]:
    """The layers of a model, in the order of its graph. Front ends (weights that are not the network's) are left out.

    Every weight is counted once, in the layer that is the first to use it; those that branches and bodies hold or use, in
    that of the node that they belong to. The model may be changed. words: by module, the word of the spec.
    """
    model = with_weights_as_initializers(model)
    graph, shapes = model.graph, Shapes(model)
    weights = Weights(graph)
    reaches: dict[ir.Value, Reach] = {}
    found: list[Layer] = []
    made_by: dict[ir.Node, int] = {}  # places in `found`
    for node in graph:
        given = [value for value in node.inputs if value is not None and not weights.is_fixed(value)]
        before = join([reaches.get(value, START) for value in given], _is_join(node, weights))
        used = weights.of(node)
        is_product = node.op_type == "MatMul" and len(given) == 2
        layer, after = product(node, before, shapes) if is_product else layer_of_node(node, before, used, shapes)
        reaches.update(dict.fromkeys(node.outputs, after))
        if layer is not None:
            counted = used[:2] if node.op_type == "BatchNormalization" else used  # its mean and variance are no parameters
            numbers, again = weights.count(counted)
            made_by[node] = len(found)
            layer = replace(layer, parameters=numbers, again=again, norm_inside=norm_inside(counted))
            found.append(replace(layer, beside_join=_is_beside_join(node, weights), word=_word(node, words or {})))
        elif used and any(counts := weights.count(used)):
            numbers, again = counts
            place = _place_of_bias(node, used, given, made_by, found)
            if place is None:
                if numbers:
                    made_by[node] = len(found)
                    found.append(replace(other(node, after, used, shapes), parameters=numbers, again=again))
            else:
                held = found[place]
                found[place] = replace(held, parameters=held.parameters + numbers, again=held.again + again)
    return found


def parameters_of(proto: onnx.ModelProto) -> int:
    """Numbers in the weights of a network of which nothing but the graph is known: what its layers hold."""
    return sum(layer.parameters for layer in layers_of(model_from_proto(proto)))


def _place_of_bias(
    node: ir.Node, used: list[Weight], given: list[ir.Value], made_by: Mapping[ir.Node, int], found: list[Layer]
) -> int | None:
    """The layer that these weights belong to: the one whose product they are added to, or the last of the same module."""
    producer = given[0].producer() if len(given) == 1 else None
    if node.op_type == "Add" and producer in made_by and producer is not None and producer.op_type in ("MatMul", "Conv"):
        return made_by[producer]
    name = name_of(node, used)
    return next((place for place in reversed(range(len(found))) if found[place].name == name), None)


def _is_join(node: ir.Node, weights: Weights) -> bool:
    """Whether two values meet there that both depend on the input."""
    given = [value for value in node.inputs if value is not None and not weights.is_fixed(value)]
    return node.op_type in _JOINS and len(given) > 1


def _is_beside_join(node: ir.Node, weights: Weights) -> bool:
    """Whether what it gives is joined with another branch, with nothing but batch norm between."""
    users = [usage.node for usage in node.outputs[0].uses()]
    if len(users) == 1 and users[0].op_type == "BatchNormalization":
        users = [usage.node for usage in users[0].outputs[0].uses()]
    return any(_is_join(user, weights) for user in users)


def _word(node: ir.Node, words: Mapping[str, str]) -> str:
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]")) if words else []
    return words.get(scopes[-2], "") if len(scopes) > 1 else ""
