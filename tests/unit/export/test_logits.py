"""graph/logits.py: what has been through a softmax gets no second one, whatever came after it; what has not gets one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from avizor_export.exporter import adopt_model, export_model
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput

CLASSES = 40
WEIGHT = np.random.default_rng(0).standard_normal((4, CLASSES)).astype(np.float32)
ROWS = np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32)
SPEC = TensorInput(name="x", item_shape=(4,))
LABELS = [f"class {number}" for number in range(CLASSES)]
CONSTANTS: dict[str, Any] = {
    "w": WEIGHT,
    "scale": np.float32(1 / 255),
    "zero": np.uint8(0),
    "low": np.float32(1e-3),
    "high": np.float32(0.999),
    "one": np.float32(1),
    "nothing": np.float32(0),
    "two": np.float32(2),
    "last": np.array([2]),
    "wide": np.array([0, CLASSES, 1]),
    "axis": np.array([1]),
}


def node(operator: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """Inputs, and last the output."""
    return helper.make_node(operator, list(names[:-1]), [names[-1]], **attributes)


QDQ = [node("QuantizeLinear", "p", "scale", "zero", "q"), node("DequantizeLinear", "q", "scale", "zero", "y")]
SOFTMAX = node("Softmax", "z", "p", axis=1)
ENDS: dict[str, list[onnx.NodeProto]] = {
    "quantised": [SOFTMAX, *QDQ],
    "quantised twice": [
        SOFTMAX,
        node("QuantizeLinear", "p", "scale", "zero", "a"),
        node("DequantizeLinear", "a", "scale", "zero", "b"),
        node("Identity", "b", "c"),
        node("QuantizeLinear", "c", "scale", "zero", "q"),
        QDQ[1],
    ],
    "clipped": [SOFTMAX, node("Clip", "p", "low", "high", "y")],
    "least and most": [SOFTMAX, node("Max", "p", "low", "a"), node("Min", "high", "a", "y")],
    "times one": [SOFTMAX, node("Mul", "one", "p", "a"), node("Add", "a", "nothing", "b"), node("Div", "b", "one", "y")],
    "in half precision": [
        node("Cast", "z", "h", to=TensorProto.FLOAT16),
        node("Softmax", "h", "p", axis=1),
        node("Cast", "p", "y", to=TensorProto.FLOAT),
    ],
    "as pixels": [
        node("Reshape", "z", "wide", "m"),
        node("Softmax", "m", "s", axis=1),
        node("Squeeze", "s", "last", "p"),
        *QDQ,
    ],
    "by hand": [node("Exp", "z", "e"), node("ReduceSum", "e", "axis", "s", keepdims=1), node("Div", "e", "s", "p"), *QDQ],
    "by its logarithm": [node("LogSoftmax", "z", "l", axis=1), node("Exp", "l", "p"), *QDQ],
}


def written(folder: Path, nodes: list[onnx.NodeProto]) -> Path:
    graph = helper.make_graph(
        [node("MatMul", "x", "w", "z"), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "given.onnx")
    return folder / "given.onnx"


def served(path: Path, folder: Path) -> NDArray[Any]:
    request = ExportRequest("m", "classify", SPEC, labels=LABELS)
    version = adopt_model(path, request, folder / "models")
    found: NDArray[Any] = onnxruntime_run(onnx.load(version.model_path))(ROWS)["probabilities"]
    return found


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("end", ENDS)
def test_what_comes_after_a_softmax_is_served_as_it_is(tmp_path: Path, end: str) -> None:
    path = written(tmp_path, ENDS[end])
    given: NDArray[Any] = onnxruntime_run(onnx.load(path))(ROWS)["y"]
    np.testing.assert_allclose(served(path, tmp_path), given, atol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("LogSoftmax", "z", "y", axis=1)],
        [node("Softmax", "z", "p", axis=1), node("Log", "p", "y")],
        [node("Identity", "z", "y")],
    ],
    ids=["log softmax", "logarithm", "logits"],
)
def test_logits_and_log_probabilities_get_their_softmax(tmp_path: Path, nodes: list[onnx.NodeProto]) -> None:
    np.testing.assert_allclose(served(written(tmp_path, nodes), tmp_path), softmax(ROWS @ WEIGHT), rtol=1e-4)


def test_a_softmax_by_hand_that_is_scaled_gets_no_second_softmax(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="sums to 2 for every item, as scaled probabilities do"):
        served(written(tmp_path, [*ENDS["by hand"][:3], node("Mul", "p", "two", "y")]), tmp_path)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._batches = iter([{"x": ROWS}])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


def test_a_file_that_onnxruntime_quantised_whole_gets_no_second_softmax(tmp_path: Path) -> None:
    path, quantised = written(tmp_path, [node("Softmax", "z", "y", axis=1)]), tmp_path / "int8.onnx"
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(path, quantised, _Rows(), quant_format=QuantFormat.QDQ, **types)
    given = onnx.load(quantised)
    assert given.graph.node[-1].op_type == "DequantizeLinear"
    found = served(quantised, tmp_path)
    np.testing.assert_array_equal(found, onnxruntime_run(given)(ROWS)["y"])
    assert np.abs(found.sum(axis=1) - 1).max() > 1e-3  # a rule of numbers alone would have added a softmax
    assert np.abs(found - softmax(ROWS @ WEIGHT)).max() < 0.05


def test_the_manifest_says_that_quantised_probabilities_are_as_the_file_gives_them(tmp_path: Path) -> None:
    request = ExportRequest("m", "classify", SPEC, labels=LABELS)
    version = adopt_model(written(tmp_path, ENDS["quantised"]), request, tmp_path / "models")
    assert "they sum to 1 but for their quantisation" in version.manifest.outputs[0].meaning


class Ends(nn.Module):
    """A torch module that ends in a softmax and something after it."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.linear, self.end = nn.Linear(4, CLASSES), end

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        if self.end == "half":
            logits = logits.half().softmax(dim=1).float()
        elif self.end == "log":
            logits = logits.log_softmax(dim=1)
        else:
            logits = torch.clamp(logits.softmax(dim=1), 1e-3, 0.999)
        return logits


@pytest.mark.parametrize("end", ["half", "clamp"])
def test_a_module_that_ends_in_a_softmax_is_refused_whatever_comes_after_it(tmp_path: Path, end: str) -> None:
    with pytest.raises(ExportError, match="ends in a softmax"):
        export_model(Ends(end), ExportRequest("m", "classify", SPEC, labels=LABELS), tmp_path)


def test_a_module_that_gives_log_probabilities_is_served_with_their_probabilities(tmp_path: Path) -> None:
    network = Ends("log")
    version = export_model(network, ExportRequest("m", "classify", SPEC, labels=LABELS), tmp_path)
    found: NDArray[Any] = onnxruntime_run(onnx.load(version.model_path))(ROWS)["probabilities"]
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(torch.from_numpy(ROWS)).exp().numpy(), rtol=1e-4)
