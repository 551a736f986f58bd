"""graph/changed_probabilities.py: probabilities that a network scales, shifts or cuts are not taken for logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from avizor_export.exporter import adopt_model, export_model
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput

CLASSES = 4
SPEC = TensorInput(name="x", item_shape=(4,))
WEIGHT = np.random.default_rng(0).standard_normal((4, CLASSES)).astype(np.float32)
ROWS: NDArray[np.float32] = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
CONSTANTS: dict[str, Any] = {
    "w": WEIGHT,
    "hundred": np.float32(100),
    "prior": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "one": np.array([1]),
    "two": np.array([2]),
    "end": np.array([CLASSES]),
    "places": np.array([1, 3]),
    "place": np.array(1),
}


def node(operator: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """Inputs, and last the output."""
    return helper.make_node(operator, list(names[:-1]), [names[-1]], name=f"the_{operator.lower()}", **attributes)


def request(classes: int = CLASSES, **changes: Any) -> ExportRequest:
    return ExportRequest("m", "classify", SPEC, labels=[f"class {number}" for number in range(classes)], **changes)


def written(folder: Path, nodes: list[onnx.NodeProto], shape: list[str | int]) -> Path:
    graph = helper.make_graph(
        [node("MatMul", "x", "w", "z"), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "given.onnx")
    return folder / "given.onnx"


def probabilities(path: Path) -> NDArray[Any]:
    return np.asarray(onnxruntime_run(onnx.load(path))(ROWS)["probabilities"])


SIGMOID, SOFTMAX = node("Sigmoid", "z", "p"), node("Softmax", "z", "p", axis=1)
WITHOUT_BACKGROUND = node("Slice", "p", "one", "end", "one", "y")
CHANGES: dict[str, tuple[list[onnx.NodeProto], int, str]] = {
    "percentages of a sigmoid": ([SIGMOID, node("Mul", "p", "hundred", "y")], CLASSES, "a sigmoid that Mul 'the_mul' changes"),
    "minus 1 to 1": (
        [SIGMOID, node("Add", "p", "p", "a"), node("Sub", "a", "prior", "y")],
        CLASSES,
        "a sigmoid that Add 'the_add' changes",
    ),
    "weighted classes": ([SOFTMAX, node("Div", "p", "prior", "y")], CLASSES, "a softmax that Div 'the_div' changes"),
    "no background": ([SOFTMAX, WITHOUT_BACKGROUND], CLASSES - 1, "a softmax that Slice 'the_slice' changes"),
    "chosen classes": ([SOFTMAX, node("Gather", "p", "places", "y", axis=1)], 2, "a softmax that Gather 'the_gather' changes"),
    "two softmaxes": ([SOFTMAX, node("Sum", "p", "p", "y")], CLASSES, "a softmax that Sum 'the_sum' changes"),
}


@pytest.mark.parametrize(("change", "asked"), [*((change, None) for change in CHANGES), ("no background", "sigmoid")])
def test_a_file_that_changes_its_probabilities_is_refused_and_the_way_of_the_message_works(
    tmp_path: Path, change: str, asked: Any
) -> None:
    nodes, classes, what = CHANGES[change]
    path = written(tmp_path, nodes, ["batch", classes])
    with pytest.raises(ExportError, match=f"probabilities of {what}: neither .* --output p$"):
        adopt_model(path, request(classes, activation=asked), tmp_path / "models")
    version = adopt_model(path, request(output="p"), tmp_path / "models")
    z = ROWS @ WEIGHT
    expected = 1 / (1 + np.exp(-z)) if nodes[0] is SIGMOID else np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(version.model_path), expected, atol=1e-6)
    assert version.manifest.activation == ("sigmoid" if nodes[0] is SIGMOID else "softmax")


ONE_OF_A_SOFTMAX: dict[str, tuple[list[onnx.NodeProto], list[str | int]]] = {
    "a column": ([SOFTMAX, node("Slice", "p", "one", "two", "one", "y")], ["batch", 1]),
    "no column": ([SOFTMAX, node("Gather", "p", "place", "y", axis=1)], ["batch"]),
}


@pytest.mark.parametrize("end", ONE_OF_A_SOFTMAX)
def test_the_probability_of_one_class_of_a_softmax_is_that_of_the_second_label(tmp_path: Path, end: str) -> None:
    nodes, shape = ONE_OF_A_SOFTMAX[end]
    version = adopt_model(written(tmp_path, nodes, shape), request(2), tmp_path / "models")
    z = ROWS @ WEIGHT
    second = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[:, 1]
    np.testing.assert_allclose(probabilities(version.model_path), np.stack([1 - second, second], axis=1), atol=1e-6)


class End(nn.Module):
    """A linear layer, and one of several ends."""

    def __init__(self, end: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.scale, self.end = nn.Linear(4, CLASSES), nn.Parameter(torch.tensor(3.0)), end

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layer(x)
        ends = {
            "percent": lambda: 100 * z.sigmoid(),
            "no background": lambda: z.softmax(1)[:, 1:],
            "one class": lambda: z.softmax(1)[:, 1],
            "gated": lambda: z * z.sigmoid(),
            "another layer": lambda: self.layer(z.sigmoid()),
            "trained scale": lambda: (self.scale * z.sigmoid()).log_softmax(1),
        }
        value: Tensor = ends[self.end]()
        return value


@pytest.mark.parametrize(
    ("end", "classes", "message"),
    [
        ("percent", CLASSES, "probabilities of a sigmoid that Mul .*: neither .* the logits, or what the sigmoid returns"),
        (
            "no background",
            CLASSES - 1,
            "probabilities of a softmax that Slice .* return what goes into the softmax, the logits",
        ),
    ],
)
def test_a_module_that_changes_its_probabilities_is_refused(tmp_path: Path, end: str, classes: int, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(End(end), request(classes), tmp_path)


@pytest.mark.parametrize("end", ["gated", "another layer", "trained scale"])
def test_logits_that_are_made_with_a_sigmoid_get_their_softmax(tmp_path: Path, end: str) -> None:
    network = End(end)
    version = export_model(network, request(), tmp_path)
    with torch.inference_mode():
        expected = network(torch.from_numpy(ROWS)).softmax(1).numpy()
    np.testing.assert_allclose(probabilities(version.model_path), expected, atol=1e-6)


def test_a_module_may_return_the_probability_of_one_class_of_a_softmax(tmp_path: Path) -> None:
    network = End("one class")
    version = export_model(network, request(2), tmp_path)
    with torch.inference_mode():
        second = network(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_allclose(probabilities(version.model_path), np.stack([1 - second, second], axis=1), atol=1e-6)
