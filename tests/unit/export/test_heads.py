"""graph/heads.py, graph/ends_in_sigmoid.py: how what a classifier returns becomes probabilities, in torch modules and files."""

from __future__ import annotations

import logging
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
from avizor_export.networks.thresholds import read_thresholds
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelVersion

SPEC = TensorInput(name="x", item_shape=(4,))
ROWS: NDArray[np.float32] = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
TAGS = ["rain", "wind", "hail"]


def request(**changes: Any) -> ExportRequest:
    return ExportRequest("m", "classify", SPEC, **({"labels": TAGS} | changes))


def probabilities(version: ModelVersion, rows: NDArray[np.float32] = ROWS) -> NDArray[np.float64]:
    values: NDArray[np.float64] = onnxruntime_run(onnx.load(version.model_path))(rows)["probabilities"].astype(np.float64)
    return values


def sigmoid(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values.astype(np.float64))))


def linear(classes: int, scale: float = 1.0) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(4, classes)
    with torch.no_grad():
        layer.weight.mul_(scale)
    return layer


def logits(layer: nn.Linear, rows: NDArray[np.float32] = ROWS) -> NDArray[Any]:
    with torch.inference_mode():
        return np.asarray(layer(torch.from_numpy(rows)).numpy())


class End(nn.Module):
    """A linear layer, and one of several ends."""

    def __init__(self, end: str, layer: nn.Linear) -> None:
        super().__init__()
        self.end, self.layer = end, layer

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layer(x)
        frames = torch.stack([z, z - 1], dim=2)
        ends = {
            "sigmoid": lambda: z.sigmoid(),
            "clamped": lambda: z.sigmoid().clamp(1e-7, 1.0),
            "most of two frames": lambda: frames.sigmoid().amax(2),
            "attention": lambda: (frames.softmax(2) * frames.sigmoid()).sum(2),
            "a column": lambda: z,
            "no column": lambda: z.squeeze(1),
            "a sigmoid without a column": lambda: z.squeeze(1).sigmoid(),
            "a column of a sigmoid": lambda: z.sigmoid(),
            "noisy or": lambda: 1 - (1 - frames.sigmoid()).prod(2),
        }
        value: Tensor = ends[self.end]()
        return value


def test_a_multi_label_network_has_a_sigmoid_and_a_threshold_for_each_class(tmp_path: Path) -> None:
    layer = linear(3)
    thresholds = {"hail": 0.25, "rain": 0.5, "wind": 0.75}
    version = export_model(layer, request(activation="sigmoid", thresholds=thresholds), tmp_path)
    np.testing.assert_allclose(probabilities(version), sigmoid(logits(layer)), atol=1e-6)
    manifest = version.manifest
    assert (manifest.activation, manifest.thresholds) == ("sigmoid", (0.5, 0.75, 0.25))
    assert "they do not sum to 1" in manifest.outputs[0].meaning
    card = (version.folder / "card.md").read_text()
    assert "classes count as present from these probabilities on: rain 0.5, wind 0.75, hail 0.25" in card
    with pytest.raises(ExportError, match="another activation; publish under another name"):
        export_model(layer, request(), tmp_path)


def test_thresholds_that_the_version_before_had_are_not_lost_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layer, thresholds = linear(3), [0.25, 0.5, 0.75]
    export_model(layer, request(activation="sigmoid", thresholds=thresholds), tmp_path)
    with caplog.at_level(logging.WARNING):
        assert export_model(layer, request(activation="sigmoid"), tmp_path).manifest.thresholds == (0.5, 0.5, 0.5)
        assert "0.5 for each class, and version 1 has others; to keep those: --thresholds " in caplog.text
        path = caplog.text.split("--thresholds ")[-1].strip()
        caplog.clear()
        again = export_model(layer, request(activation="sigmoid", thresholds=read_thresholds(path)), tmp_path)
        assert again.manifest.thresholds == tuple(thresholds)
        assert "thresholds" not in caplog.text


@pytest.mark.parametrize("end", ["sigmoid", "clamped", "most of two frames", "attention"])
def test_a_network_that_ends_in_a_sigmoid_gets_no_second_one(tmp_path: Path, end: str) -> None:
    network = End(end, linear(3))
    version = export_model(network, request(), tmp_path)
    with torch.inference_mode():
        np.testing.assert_allclose(probabilities(version), network(torch.from_numpy(ROWS)).numpy(), atol=1e-6)
    assert (version.manifest.activation, version.manifest.thresholds) == ("sigmoid", (0.5, 0.5, 0.5))


@pytest.mark.parametrize("end", ["a column", "no column", "a column of a sigmoid", "a sigmoid without a column"])
def test_one_number_for_an_item_is_two_classes(tmp_path: Path, end: str) -> None:
    layer = linear(1, scale=30.0)  # some sigmoids are so near to 0 or 1 that only an exact form keeps both
    version = export_model(End(end, layer), request(labels=["good", "faulty"]), tmp_path)
    assert (version.manifest.activation, version.manifest.outputs[0].item_shape) == ("softmax", (2,))
    positive = sigmoid(logits(layer))
    expected = np.concatenate([1 - positive, positive], axis=1)
    np.testing.assert_allclose(probabilities(version), expected, atol=1e-6)
    if "sigmoid" not in end:  # 1 - p in float32 would have lost these
        np.testing.assert_allclose(probabilities(version)[:, 0], sigmoid(-logits(layer))[:, 0], rtol=1e-4)


def test_one_number_with_a_threshold_is_one_class(tmp_path: Path) -> None:
    layer = linear(1)
    version = export_model(layer, request(labels=["faulty"], activation="sigmoid", thresholds=0.9), tmp_path)
    np.testing.assert_allclose(probabilities(version), sigmoid(logits(layer)), atol=1e-6)
    assert version.manifest.thresholds == (0.9,)


def test_what_may_be_probabilities_already_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        export_model(End("noisy or", linear(3)), request(activation="sigmoid"), tmp_path / "noisy")
        assert "between 0 and 1, and a sigmoid was added to it; if these are probabilities already" in caplog.text
        caplog.clear()
        export_model(linear(3), request(), tmp_path / "plain")
        assert "between 0 and 1" not in caplog.text


def written(folder: Path, nodes: list[onnx.NodeProto], classes: int, shape: list[str | int | None]) -> Path:
    weight = np.random.default_rng(0).standard_normal((4, classes)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"], name="last"), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "given.onnx")
    return folder / "given.onnx"


def node(operator: str, *names: str) -> onnx.NodeProto:
    """Inputs, and last the output."""
    return helper.make_node(operator, list(names[:-1]), [names[-1]])


@pytest.mark.parametrize(
    ("nodes", "asked"), [([node("Sigmoid", "z", "y")], None), ([node("Identity", "z", "y")], "sigmoid")], ids=["given", "asked"]
)
def test_a_file_has_one_sigmoid_whether_it_brings_it_or_not(tmp_path: Path, nodes: list[onnx.NodeProto], asked: Any) -> None:
    path = written(tmp_path, nodes, 3, ["batch", 3])
    version = adopt_model(path, request(activation=asked), tmp_path / "models")
    z = ROWS @ numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    np.testing.assert_allclose(probabilities(version), sigmoid(z), atol=1e-6)
    assert (version.manifest.activation, version.manifest.thresholds) == ("sigmoid", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ([node("Identity", "z", "y")], ["batch", 1]),
        ([node("Sigmoid", "z", "y")], ["batch", 1]),
        ([node("Squeeze", "z", "axis", "y")], ["batch"]),
        ([node("Sigmoid", "z", "p"), node("Squeeze", "p", "axis", "y")], ["batch"]),
    ],
    ids=["logit", "sigmoid", "logit without a column", "sigmoid without a column"],
)
def test_a_file_with_one_number_for_an_item_is_two_classes(
    tmp_path: Path, nodes: list[onnx.NodeProto], shape: list[str | int | None]
) -> None:
    path = written(tmp_path, nodes, 1, shape)
    version = adopt_model(path, request(labels=["good", "faulty"]), tmp_path / "models")
    positive = sigmoid(ROWS @ numpy_helper.to_array(onnx.load(path).graph.initializer[0]))
    np.testing.assert_allclose(probabilities(version), np.concatenate([1 - positive, positive], axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "asked", "message"),
    [
        ([node("Sigmoid", "z", "y")], "softmax", "ends in a sigmoid, and a softmax"),
        ([node("Softmax", "z", "y")], "sigmoid", "ends in a softmax, so its probabilities sum to 1"),
    ],
)
def test_a_file_that_contradicts_what_was_asked_for(
    tmp_path: Path, nodes: list[onnx.NodeProto], asked: Any, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        adopt_model(written(tmp_path, nodes, 3, ["batch", 3]), request(activation=asked), tmp_path / "models")


def test_a_value_or_a_node_of_a_file_is_the_embedding(tmp_path: Path) -> None:
    path = written(tmp_path, [node("Sigmoid", "z", "y")], 3, ["batch", 3])
    z: NDArray[Any] = ROWS @ numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    for name in ("z", "last"):
        version = adopt_model(path, request(embedding=name), tmp_path / name)
        found: NDArray[Any] = onnxruntime_run(onnx.load(version.model_path))(ROWS)["embedding"]
        np.testing.assert_allclose(found, z, atol=1e-6)
        assert version.manifest.outputs[1].meaning == f"value {name!r} of the file, flattened"
    for name, message in (("y", "the output that the model returns already"), ("zz", "no value and has no node .*near it: z")):
        with pytest.raises(ExportError, match=message):
            adopt_model(path, request(embedding=name), tmp_path / "models")


def test_a_file_with_two_inputs_is_refused_with_a_way_that_works(tmp_path: Path) -> None:
    path = written(tmp_path, [node("Identity", "z", "y")], 3, ["batch", 3])
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 4]))
    onnx.save(model, path)
    message = r"has 2 inputs \(x float32\[4\], mask float32\[4\]\), and a model of Avizor takes one tensor.*splits it"
    with pytest.raises(ExportError, match=message):
        adopt_model(path, request(), tmp_path / "models")


def test_a_whole_number_is_neither_a_logit_nor_a_probability(tmp_path: Path) -> None:
    path = written(tmp_path, [helper.make_node("ArgMax", ["z"], ["y"], axis=1, keepdims=0)], 3, ["batch"])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"holds whole numbers \(int64\).*--output, or export the network without its argmax"):
        adopt_model(path, request(labels=["no", "yes"]), tmp_path / "models")


class Percent(nn.Module):
    """Returns percentages, by a softmax that its graph does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = linear(3)

    def forward(self, rows: Tensor) -> Tensor:
        powers = self.layer(rows).exp()
        shares: Tensor = 100 * powers / powers.sum(1, keepdim=True)
        return shares


def test_percentages_get_no_second_softmax(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="never negative and sums to 100 for every item, as scaled probabilities do"):
        export_model(Percent(), request(), tmp_path)
