"""Which of a graph's stored weights a value is made of, where it is made of nothing else.

A linear layer on a sequence multiplies by its transposed weight, an LSTM takes the gates of its weights in another order,
weight norm divides before each use. The optimiser folds such steps away, and with them the name by which a weight is known to
be the network's; `rename_folded_weights` gives it back.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

NETWORK = "network."
# What a value that does not depend on the graph's input is made of; nothing for plain constants and for sizes.
Origins = Mapping[ir.Value, tuple[ir.Value, ...]]

# They tell the size of what they are given, and hold none of its numbers.
_SIZES = {"Shape", "Size"}
# The inputs after the first say how it is stored: scale, zero point, type.
_STORED_OTHERWISE = {"QuantizeLinear", "DequantizeLinear", "CastLike"}


def origins_of(graph: ir.Graph) -> Origins:
    """Every value that does not depend on the graph's input, and the stored weights (initializers) that it is made of."""
    origins: dict[ir.Value, tuple[ir.Value, ...]] = {value: (value,) for value in graph.initializers.values()}
    for node in graph:
        given = [value for value in node.inputs if value is not None]
        given = given[:1] if node.op_type in _STORED_OTHERWISE else given
        if node.op_type in _SIZES:
            made: tuple[ir.Value, ...] = ()
        elif any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            continue  # a branch or body takes what it likes from around it, the graph's input as well
        elif all(value in origins for value in given):
            made = tuple(dict.fromkeys(origin for value in given for origin in origins[value]))
        else:
            continue
        origins.update(dict.fromkeys(node.outputs, made))
    return origins


def network_origins(graph: ir.Graph) -> dict[str, str]:
    """By its name, the first weight of the network (`network.*`) that a value is made of."""
    return {
        value.name: first
        for value, made in origins_of(graph).items()
        if value.name and (first := next((each.name for each in made if (each.name or "").startswith(NETWORK)), None))
    }


def rename_folded_weights(graph: ir.Graph, before: Mapping[str, str]) -> None:
    """Name the weights that an optimiser folded after those that they were made of. before: `network_origins` before it ran."""
    taken = {value.name for node in graph for value in (*node.inputs, *node.outputs) if value is not None}
    for name, value in list(graph.initializers.items()):
        if name in before and not name.startswith(NETWORK):
            count, wanted = 1, before[name]
            while wanted in taken:
                count, wanted = count + 1, f"{before[name]}_{count + 1}"
            taken.add(wanted)
            value.name = wanted
