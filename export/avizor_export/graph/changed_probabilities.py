"""Tell whether what a classifier returns are probabilities that the network itself scaled, shifted or cut.

Such numbers are neither probabilities nor logits: a softmax of percentages, or of all classes but the background, is wrong.
The numbers do not show it, so the graph has to: a softmax or a sigmoid, and after it only operators that compute with its
output and with constants. Any other operator, such as a linear layer, ends the search: its outputs may be logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from avizor_export.graph.logits import SIGMOIDS, logits_of, passed_on, producing_nodes, small_constants, softmax_error
from avizor_inference.errors import ExportError

# Operators that take a part of their first input, or add constants beside it.
_SELECTING = ("Slice", "Gather", "Split", "Pad")
# Operators that change probabilities, number by number or several at a time. Not the logarithm: its outputs are logits.
_REDUCING = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "Expand", "Tile")
_CHANGING = (
    *("Mul", "Div", "Add", "Sub", "Sum", "Neg", "Abs", "Pow", "Sqrt", "Exp", "Reciprocal", "Round", "Floor", "Ceil"),
    *("Max", "Min", "Mean", "Concat", *_REDUCING),
)
# Of these, the other inputs are sizes and indices.
_BY_FIRST_INPUT = (*_SELECTING, *_REDUCING)


@dataclass(frozen=True)
class Changed:
    """Says what a value has become since a softmax or a sigmoid.

    activation: the softmax or sigmoid. before: the last value that still is what it returned. change: the first node that
    changed that; None if none did. is_part: whether nodes have only taken parts of it.
    """

    activation: onnx.NodeProto
    before: str
    change: onnx.NodeProto | None = None
    is_part: bool = True

    def after(self, node: onnx.NodeProto) -> Changed:
        """Return the same after one more node that changes the value."""
        return replace(self, change=self.change or node, is_part=self.is_part and node.op_type in _SELECTING)

    def passed(self, name: str) -> Changed:
        """Return the same after a node that passes the value on under this name."""
        return self if self.change else replace(self, before=name)

    def __str__(self) -> str:
        assert self.change is not None
        what = self.activation.op_type.lower()
        name = f" {self.change.name!r}" if self.change.name else ""
        return f"probabilities of a {what} that {self.change.op_type}{name} changes"


def changed_probabilities(graph: onnx.GraphProto, name: str) -> Changed | None:
    """Return how the value of this name was made of probabilities; None if it was not, or if nothing changed them."""
    changed = _of_all_values(graph).get(name)
    return changed if changed is not None and changed.change is not None else None


def is_part_of_softmax(graph: onnx.GraphProto, name: str) -> bool:
    """Return whether a value is a part of the outputs of a softmax, such as the probability of one of its classes."""
    changed = changed_probabilities(graph, name)
    return changed is not None and changed.is_part and changed.activation.op_type == "Softmax"


def check_ends_in_logits(proto: onnx.ModelProto) -> None:
    """Raise ExportError if what computes `probabilities` runs on other probabilities, as they are or changed."""
    logits = logits_of(proto.graph)
    before = producing_nodes(proto.graph, logits) if logits else []
    if before and before[-1].op_type == "Softmax":
        raise softmax_error()
    if logits and (changed := changed_probabilities(proto.graph, logits)):
        what = changed.activation.op_type.lower()
        remedy = "" if what == "softmax" else ", or what the sigmoid returns"
        raise ExportError(
            f"the network returns {changed}: neither probabilities nor logits, and a softmax or sigmoid of them is wrong; let "
            f"it return what goes into the {what}, the logits{remedy}. If they were trained as logits, let a wrapper return "
            "torch.log_softmax(logits, 1)"
        )


def _of_all_values(graph: onnx.GraphProto) -> Mapping[str, Changed]:
    """Return by name what is made of probabilities and constants alone. The nodes of a graph are in the order they run in."""
    numbers = small_constants(graph)
    constants = {tensor.name for tensor in graph.initializer}
    found: dict[str, Changed] = {}
    for node in graph.node:
        if constants.issuperset(filter(None, node.input)) and not node.op_type.startswith("Random"):
            constants.update(node.output)
            continue
        inputs = node.input[:1] if node.op_type in _BY_FIRST_INPUT else node.input
        variable = [name for name in inputs if name and name not in constants]
        changed = _after(node, variable, passed_on(node, numbers), found)
        found.update({name: changed.passed(name) for name in node.output} if changed else {})
    return found


def _after(node: onnx.NodeProto, variable: list[str], passed: str | None, found: Mapping[str, Changed]) -> Changed | None:
    """Return what a node's outputs are. variable: its inputs that are not constant. passed: the input that it passes on."""
    if node.op_type in ("Softmax", *SIGMOIDS):
        return Changed(node, node.output[0])
    if passed is not None:
        return found.get(passed)
    if node.op_type in (*_SELECTING, *_CHANGING) and variable and all(name in found for name in variable):
        return found[variable[0]].after(node)
    return None
