"""Whether what goes into the softmax are logits. A sigmoid before it would be served as something else than was trained."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from avizor_inference.errors import ExportError

# What may lie between a sigmoid and the softmax and change nothing of it.
_PASSING = ("Identity", "Cast", "Clip", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
_SIGMOIDS = ("Sigmoid", "HardSigmoid")


def are_probabilities(outputs: NDArray[np.generic]) -> bool:
    """Whether outputs [n, classes] have been through a softmax already: none is negative, and each row sums to 1."""
    wide = outputs.astype(np.float64)
    return wide.shape[1] > 1 and bool((wide >= 0).all()) and bool(np.allclose(wide.sum(axis=1), 1, atol=1e-4))


def refuse_sigmoid(proto: onnx.ModelProto) -> None:
    """Raise ExportError if the softmax that gives `probabilities` is over the outputs of a sigmoid."""
    producers = {output: node for node in proto.graph.node for output in node.output}
    softmax = producers.get("probabilities")
    if softmax is None or softmax.op_type != "Softmax":
        return
    node = producers.get(softmax.input[0])
    while node is not None and node.op_type in _PASSING:
        node = producers.get(node.input[0])
    if node is not None and node.op_type in _SIGMOIDS:
        raise ExportError(
            "the network ends in a sigmoid; let it return logits, of which exactly one class is right: the softmax is added at "
            "export. For two classes by one logit z return [0, z]; several labels at once are not served"
        )
