"""Tell whether what a network returns has been through a sigmoid already, so that it gets no second one.

Numbers alone do not show it: few logits may all be between 0 and 1 by chance. So the graph has to show it: a sigmoid, and after
it only operators that keep numbers between 0 and 1, as a maximum over time does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from avizor_export.graph.logits import SIGMOIDS, passed_on, small_constants
from avizor_inference.arrays import Array

# Operators whose output is between 0 and 1 if their first input is.
_KEEPING = (
    *("ReduceMax", "ReduceMin", "ReduceMean", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"),
    *("Slice", "Gather", "Split", "Expand", "Tile", "Pad"),
)
# Operators whose output is between 0 and 1 if all their inputs are. Mul: a probability under a condition.
_KEEPING_ALL = ("Concat", "Max", "Min", "Mean", "Mul")


def ends_in_sigmoid(graph: onnx.GraphProto, name: str) -> bool:
    """Return whether the value of this name is made of the outputs of sigmoids, and must therefore be between 0 and 1.

    An attention that sums sigmoids, weighted by a softmax, counts too; `within_unit` shows whether its weights sum to 1.
    """
    producers = {output: node for node in graph.node for output in node.output}
    return _is_from_sigmoids(name, producers, small_constants(graph))


def _is_from_sigmoids(name: str, producers: Mapping[str, onnx.NodeProto], constants: Mapping[str, Array]) -> bool:
    node = producers.get(name)
    if node is None:
        return False
    if node.op_type in SIGMOIDS:
        return True

    def is_kept(inner: str) -> bool:
        return _is_from_sigmoids(inner, producers, constants)

    if (passed := passed_on(node, constants)) is not None:
        return is_kept(passed)
    if node.op_type in _KEEPING:
        return is_kept(node.input[0])
    if node.op_type in _KEEPING_ALL:
        return all(map(is_kept, node.input))
    if node.op_type == "Sub":  # 1 - p
        return node.input[0] in constants and bool((constants[node.input[0]] == 1).all()) and is_kept(node.input[1])
    if node.op_type == "Where":
        return all(map(is_kept, node.input[1:]))
    product = producers.get(node.input[0]) if node.op_type == "ReduceSum" else None
    if product is None or product.op_type != "Mul":
        return False
    weights = [inner for inner in product.input if inner in producers and producers[inner].op_type == "Softmax"]
    others = [inner for inner in product.input if inner not in weights]
    return len(weights) == 1 and is_kept(others[0])


def within_unit(values: Array) -> bool:
    """Return whether all values are between 0 and 1."""
    return bool(((values >= 0) & (values <= 1)).all()) and bool(np.isfinite(values).all())
