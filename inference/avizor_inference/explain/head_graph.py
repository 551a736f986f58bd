"""Find the head of a classifier in its graph: the nodes from the output `activations` to what the softmax or sigmoid takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from avizor_inference.arrays import Array
from avizor_inference.errors import NotExplainable
from avizor_inference.explain.gradient_rules import OF_SEVERAL_INPUTS, RULES
from avizor_inference.explain.graph_constants import GraphConstants

OFFER = "`avizor explain occlusion` needs no gradient: it hides parts of the item"

# Operators that return their input in another type, or rounded.
_SAME = ("Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear")
_RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
# Operators whose result does not depend on the values of their input, or jumps with them.
_WITHOUT_GRADIENT = ("Shape", "Size", "ArgMax", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not")
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, eq=False)
class HeadGraph:
    """Holds the nodes from the value `root`, [1, C, ...], to `logits`, in the order in which they run, on one item.

    It computes in float32, also where the graph computes in float16. constants: what else the nodes take, by name.
    activation: which makes the probabilities. is_binary: the one logit z speaks for the second of two classes, and -z for the
    first. with_gradient: the values that depend on the root's, and can be differentiated. channels_last: the root is
    [1, ..., C].
    """

    nodes: tuple[onnx.NodeProto, ...]
    root: str
    logits: str
    activation: str
    is_binary: bool
    constants: Mapping[str, Array]
    with_gradient: frozenset[str]
    channels_last: bool

    def as_model(self) -> onnx.ModelProto:
        """Return a graph that takes the root and the constants as inputs, and returns what every node does."""
        constants = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in self.constants.items()
        ]
        root = helper.make_tensor_value_info(self.root, TensorProto.FLOAT, None)
        outputs = [onnx.ValueInfoProto(name=name) for node in self.nodes for name in node.output if name]
        graph = helper.make_graph(self.nodes, "head", [root, *constants], outputs)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def read_head(model: onnx.ModelProto) -> HeadGraph:
    """Return the head of a published classifier's graph.

    Raises NotExplainable if it has no `activations`, or if its probabilities do not follow from them by operators whose
    gradient is known.
    """
    return _Reader(model).read()


def refused(why: str) -> NotExplainable:
    """Return the error that says why there are no maps, and what there is without them."""
    return NotExplainable(f"{why}; {OFFER}")


@dataclass
class _Reader:
    model: onnx.ModelProto
    constants: GraphConstants = field(init=False)
    producers: dict[str, onnx.NodeProto] = field(init=False)

    def __post_init__(self) -> None:
        self.constants = GraphConstants(self.model)
        self.producers = {name: node for node in self.model.graph.node for name in node.output if name}

    def read(self) -> HeadGraph:
        if "activations" not in {output.name for output in self.model.graph.output}:
            raise refused(
                "the version has no output `activations`: it was published without (--leave-out activations), or its network "
                "has no map of more than one place; export it again with them"
            )
        root = self._back("activations", _SAME)
        activation, logits, is_binary = self._activation()
        nodes = list(self._between(root, logits))
        differentiable = self._differentiable(nodes, root)
        if logits not in differentiable:
            raise refused("the class scores do not depend on `activations`, or jump with them")
        nodes = [_in_float32(node) for node in nodes]
        produced = {name for node in nodes for name in node.output} | {root}
        used = {name for node in nodes for name in node.input if name} - produced
        values = {name: _as_float32(self.constants[name]) for name in used if name in self.constants}
        return HeadGraph(
            tuple(nodes), root, logits, activation, is_binary, values, differentiable, self._channels_last(nodes, root, values)
        )

    def _back(self, name: str, passing: tuple[str, ...]) -> str:
        """Return the value from which a value differs only by such operators."""
        node = self.producers.get(name)
        while node is not None and node.op_type in passing:
            name = node.input[0]
            node = self.producers.get(name)
        return name

    def _activation(self) -> tuple[str, str, bool]:
        """Return the operator that makes the probabilities, what goes into it, and whether that is one logit of two classes."""
        name = self._back("probabilities", (*_SAME, *_RESHAPING))
        node = self.producers.get(name)
        is_binary = node is not None and node.op_type == "Concat" and self._is_complement(node)
        if is_binary:
            assert node is not None
            name = self._back(node.input[1], (*_SAME, *_RESHAPING))
            node = self.producers.get(name)
        if node is None or node.op_type not in ("Softmax", "Sigmoid"):
            what = "an input" if node is None else node.op_type
            raise refused(f"the probabilities are computed by {what}, and not by a softmax or a sigmoid of logits")
        logits = node.input[0]
        before = self.producers.get(logits)
        if before is not None and before.op_type == "Pad" and node.op_type == "Softmax":
            pads = self.constants.get(before.input[1])
            if pads is not None and pads.tolist() == [0, 1, 0, 0]:
                return "Sigmoid", before.input[0], True  # softmax of [0, z]
        if node.op_type == "Softmax":
            logits = self._back(logits, ("LogSoftmax",))  # the softmax of a log-softmax is the softmax again
        return node.op_type, logits, is_binary

    def _is_complement(self, node: onnx.NodeProto) -> bool:
        """Return whether a Concat returns 1 - p and p."""
        first = self.producers.get(node.input[0])
        return len(node.input) == 2 and first is not None and first.op_type == "Sub" and first.input[1] == node.input[1]

    def _between(self, root: str, logits: str) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that compute the logits from the root, in order. Raises NotExplainable if they take more than it."""
        needed, chosen = {logits}, list[onnx.NodeProto]()
        for node in reversed(self.model.graph.node):
            names = needed.intersection(node.output) - {root}
            if not names or all(name in self.constants for name in names):
                continue
            if node.op_type == "Shape" and (size := self._size_of_batch(node)) is not None:
                chosen.append(helper.make_node("Constant", [], [node.output[0]], value_ints=size))
                continue
            chosen.append(node)
            needed.update(name for name in node.input if name)
        inputs = {each.name for each in self.model.graph.input}
        if beside := sorted(name for name in needed & inputs if name not in self.constants):
            raise refused(f"the class scores depend on {', '.join(beside)} by another way than through `activations`")
        yield from reversed(chosen)

    def _size_of_batch(self, node: onnx.NodeProto) -> list[int] | None:
        """Return the sizes that a Shape returns, where they are known to be those of one item; None if it is computed."""
        attributes = attributes_of(node)
        if (attributes.get("start", 0), attributes.get("end")) == (0, 1):
            return [1]
        for each in self.model.graph.input:
            if each.name == node.input[0]:
                sizes = [1, *(dim.dim_value for dim in each.type.tensor_type.shape.dim[1:])]
                return sizes[attributes.get("start", 0) : attributes.get("end")]
        return None

    def _differentiable(self, nodes: list[onnx.NodeProto], root: str) -> frozenset[str]:
        """Return the values through which the gradient flows. Raises NotExplainable naming the operators without a rule."""
        found, unknown = {root}, set[str]()
        for node in nodes:
            if found.intersection(node.input) and node.op_type not in _WITHOUT_GRADIENT:
                found.update(name for name in node.output if name)
                if node.op_type not in RULES or node.domain not in ("", "ai.onnx"):
                    unknown.add(node.op_type)
                elif node.op_type not in OF_SEVERAL_INPUTS and found.intersection(node.input[1:]):
                    unknown.add(f"{node.op_type} with weights that depend on them")
        if unknown:
            raise refused(
                f"between `activations` and the class scores there is {', '.join(sorted(unknown))}, whose gradient is not known"
            )
        return frozenset(found)

    def _channels_last(self, nodes: list[onnx.NodeProto], root: str, constants: Mapping[str, Array]) -> bool:
        """Return whether the first nodes treat the root as [N, h, w, C]: they average over h and w, or move C to the front."""
        for node in nodes:
            if root in node.input and node.op_type in ("ReduceMean", "ReduceMax", "ReduceSum"):
                axes = attributes_of(node).get("axes", constants.get(node.input[1]) if len(node.input) > 1 else None)
                return axes is not None and sorted(int(axis) for axis in axes) in ([1, 2], [1])
            if root in node.input and node.op_type == "Transpose":
                return list(attributes_of(node).get("perm", ())) in ([0, 3, 1, 2], [0, 2, 1])
        return False


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name; texts as str."""
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _as_float32(value: Array) -> Array:
    """Return the value in C order, half precision as float32; a scalar stays one, which a Gather by it relies on."""
    return np.asarray(value, np.float32 if value.dtype.name in ("float16", "bfloat16") else value.dtype, order="C")


def _in_float32(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return the node as it is, but a cast to float16 as one to float32."""
    to = next((each.i for each in node.attribute if each.name == "to"), None)
    if node.op_type != "Cast" or to not in _HALF:
        return node
    return helper.make_node("Cast", node.input, node.output, node.name, to=TensorProto.FLOAT)
