"""Turn what a classifier returns into probabilities, in torch and in a graph.

One number z for an item is a binary classifier: it has two classes, with the probabilities 1 - sigmoid(z) and sigmoid(z). They
are computed as the softmax of [0, z], which keeps the digits of the smaller one: the sigmoid of ONNX Runtime does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Activation


@dataclass(frozen=True)
class Head:
    """Say how a classifier's output becomes probabilities.

    activation: of the published model. is_binary: the network returns one number for an item, and the model two classes.
    is_given: the network has applied the activation itself (a binary one: the sigmoid), so that it is not applied again.
    """

    activation: Activation
    is_binary: bool = False
    is_given: bool = False

    def as_given(self, asked: Activation | None) -> Head:
        """Return the head for a network that ends in a sigmoid. asked: the user's choice.

        Raises ExportError if the user asked for a softmax.
        """
        if self.is_binary:
            return replace(self, is_given=True)
        if asked == "softmax":
            raise ExportError(
                "the network ends in a sigmoid, and a softmax of its outputs is not what it was trained for; leave out "
                "--activation softmax: each class has its own probability, or let the network return one logit per class"
            )
        return Head("sigmoid", is_given=True)

    def probabilities(self, values: Tensor) -> Tensor:
        """Return the probabilities [N, classes] for what the network returns: [N, classes], or [N] or [N, 1] for one number."""
        values = as_columns(values)
        if self.is_binary and self.is_given:
            return torch.cat([1 - values, values], dim=1)
        if self.is_binary:
            values = nn.functional.pad(values, (1, 0))
        if self.is_given:
            return values
        return torch.softmax(values, dim=1) if self.activation == "softmax" else torch.sigmoid(values)

    def nodes(self, values: str) -> list[onnx.NodeProto]:
        """Return nodes that compute `probabilities` [N, classes] from the value of this name: float32[N, classes] or [N, 1]."""
        if self.is_binary and self.is_given:
            one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
            return [
                helper.make_node("Constant", [], ["avizor.one"], value=one),
                helper.make_node("Sub", ["avizor.one", values], ["avizor.negative"]),
                helper.make_node("Concat", ["avizor.negative", values], ["probabilities"], axis=1),
            ]
        if self.is_binary:
            pads = helper.make_tensor("pads", TensorProto.INT64, [4], [0, 1, 0, 0])
            return [
                helper.make_node("Constant", [], ["avizor.pads"], value=pads),
                helper.make_node("Pad", [values, "avizor.pads"], ["avizor.logits"]),
                helper.make_node("Softmax", ["avizor.logits"], ["probabilities"], axis=1),
            ]
        operator = "Identity" if self.is_given else "Softmax" if self.activation == "softmax" else "Sigmoid"
        return [helper.make_node(operator, [values], ["probabilities"])]

    @property
    def is_by_sigmoid(self) -> bool:
        """Return whether a sigmoid computes the probabilities, here or in the network."""
        return self.activation == "sigmoid" or (self.is_binary and self.is_given)

    @property
    def meaning(self) -> str:
        """Return what the probabilities mean, for the manifest."""
        if self.is_binary:
            p = "what the network returns" if self.is_given else "the sigmoid of the one number that the network returns"
            return f"of the two labels, 1 - p and p, which sum to 1; p is {p}"
        if self.activation == "softmax":
            return "softmax over the classes, sums to 1"
        return "sigmoid of each class by itself, 0 to 1: any number of classes may be right, and they do not sum to 1"


def head_for(classes: int, asked: Activation | None) -> Head:
    """Return the head for a network that returns logits. classes: numbers for an item. asked: the user's choice, if any."""
    if classes == 1 and asked != "sigmoid":
        return Head("softmax", is_binary=True)
    return Head(asked or "softmax")


def given_softmax(asked: Activation | None) -> Head:
    """Return the head for a graph that ends in a softmax. Raises ExportError if the user asked for a sigmoid."""
    if asked == "sigmoid":
        raise ExportError(
            "the file ends in a softmax, so its probabilities sum to 1 and exactly one class is right; leave out --activation "
            "sigmoid, or export the network again without its softmax"
        )
    return Head("softmax", is_given=True)


def as_columns(values: Tensor) -> Tensor:
    """Return [N, K] for [N, K, 1, 1] and the like, and [N, 1] for [N].

    A number without dimensions is what a squeeze makes of a batch of 1.
    """
    return values.reshape(-1, 1) if values.ndim < 2 else values.flatten(1) if values.ndim > 2 else values


def second_activation_warning(head: Head) -> str:
    """Return the warning that a network whose outputs are all between 0 and 1 may have applied an activation already."""
    added = "softmax" if head.activation == "softmax" and not head.is_binary else "sigmoid"
    return (
        f"all that the network returned was between 0 and 1, and a {added} was added to it; if these are probabilities "
        "already, let a module return torch.logit of them, and export that"
        + (" with --activation sigmoid" if added == "softmax" else "")
    )
