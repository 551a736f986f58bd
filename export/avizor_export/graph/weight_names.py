"""Trace values that are computed from stored weights alone, and keep the names of those weights through the optimiser.

A linear layer on a sequence multiplies by its transposed weight, an LSTM takes the gates of its weights in another order,
weight norm divides before each use. The optimiser computes such steps ahead and drops the name that shows a weight to be the
network's; `rename_folded_weights` restores it.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

NETWORK = "network."
# By value: the stored weights that it is computed from. Empty for plain constants and for sizes.
Origins = Mapping[ir.Value, tuple[ir.Value, ...]]

# Operators that return the size of their input, and none of its numbers.
_SIZE_OPERATORS = {"Shape", "Size"}
# Operators whose further inputs only say how the first is stored: scale, zero point, type.
_STORAGE_OPERATORS = {"QuantizeLinear", "DequantizeLinear", "CastLike"}


def origins_of(graph: ir.Graph) -> Origins:
    """Return every value that does not depend on the graph's input, with the stored weights (initializers) behind it."""
    origins: dict[ir.Value, tuple[ir.Value, ...]] = {value: (value,) for value in graph.initializers.values()}
    for node in graph:
        inputs = [value for value in node.inputs if value is not None]
        inputs = inputs[:1] if node.op_type in _STORAGE_OPERATORS else inputs
        if node.op_type in _SIZE_OPERATORS:
            weights: tuple[ir.Value, ...] = ()
        elif any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
            continue  # a branch or body may use any value around it, the graph's input too
        elif all(value in origins for value in inputs):
            weights = tuple(dict.fromkeys(origin for value in inputs for origin in origins[value]))
        else:
            continue
        origins.update(dict.fromkeys(node.outputs, weights))
    return origins


def network_origins(graph: ir.Graph) -> dict[str, str]:
    """Return the first weight of the network (`network.*`) behind each value that has one, both by name."""
    return {
        value.name: first
        for value, weights in origins_of(graph).items()
        if value.name and (first := next((weight.name for weight in weights if (weight.name or "").startswith(NETWORK)), None))
    }


def rename_folded_weights(graph: ir.Graph, origins: Mapping[str, str]) -> None:
    """Name the weights that an optimiser computed after those that they come from. origins: `network_origins` before it ran."""
    used_names = {value.name for node in graph for value in (*node.inputs, *node.outputs) if value is not None}
    for name, value in list(graph.initializers.items()):
        if name in origins and not name.startswith(NETWORK):
            count, new_name = 1, origins[name]
            while new_name in used_names:
                count, new_name = count + 1, f"{origins[name]}_{count + 1}"
            used_names.add(new_name)
            value.name = new_name
