"""Refusals of exporter.py and its parts.

Advice in a refusal is followed to the letter here, and leads to a version that is published.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from avizor_export.exporter import adopt_model, export_model
from avizor_export.networks.onnx_adoption import own_input
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput, InputSpec, TensorInput

VECTOR = TensorInput(name="x", item_shape=(6,))
TOKENS = TensorInput(name="tokens", dtype="int64", item_shape=(5,))
LABELS = ["a", "b"]
ITEMS = np.random.default_rng(0).integers(0, 50, (4, 5))


class By(nn.Module):
    """A linear layer, and what is done with it."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], object], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.by = layer or nn.Linear(6, 2), forward

    def forward(self, x: Tensor) -> object:
        return self.by(self.layer, x)


def published(network: nn.Module, folder: Path, spec: InputSpec = VECTOR, **changes: object) -> list[str]:
    request = ExportRequest("m", "classify", spec, labels=LABELS, **changes)  # type: ignore[arg-type]
    return [output.name for output in export_model(network, request, folder).manifest.outputs]


def embedding() -> nn.Module:
    return By(lambda layer, x: layer(x).mean(1), nn.Embedding(50, 2))


@pytest.mark.parametrize(
    ("wrong", "says", "right"),
    [
        (
            By(lambda layer, x: layer(x).softmax(1)),
            "return the logarithm of its probabilities",
            By(lambda layer, x: torch.log(layer(x).softmax(1))),
        ),
        (nn.Linear(6, 2).double(), r"call .float\(\) on it", nn.Linear(6, 2).double().float()),
        (By(lambda layer, x: layer(x).double()), "let it return float32", By(lambda layer, x: layer(x).double().float())),
        (
            By(lambda layer, x: layer(x) + torch.zeros(2, 2)),
            r"not one of 1; .* use x.shape\[0\]|not one of 3; .* use x.shape\[0\]",
            By(lambda layer, x: layer(x) + torch.zeros(x.shape[0], 2)),
        ),
        (
            By(lambda layer, x: layer(x.reshape(2, 6))),
            "use x.shape.0. or -1 there",
            By(lambda layer, x: layer(x.reshape(-1, 6))),
        ),
        (
            nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 2)),
            "not one of 1; .* or for a norm over the batch",
            nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)),
        ),
        (
            By(lambda layer, x: layer(x / x.norm(dim=1, keepdim=True))),
            "division by something that is 0 there .add an eps to it",
            By(lambda layer, x: layer(x / (x.norm(dim=1, keepdim=True) + 1e-6))),
        ),
        (
            By(lambda layer, x: layer(x) if x.sum() > 0 else -layer(x)),
            "choose for each item by torch.where",
            By(lambda layer, x: torch.where(x.sum(1, keepdim=True) > 0, layer(x), -layer(x))),
        ),
        (
            By(lambda layer, x: layer(x) - layer(x).mean(0)),
            "influence each other: .*a mean, a norm or a sum over dimension 0",
            By(lambda layer, x: layer(x) - layer(x).mean(1, keepdim=True)),
        ),
        (
            By(lambda layer, x: layer(x) + torch.randn_like(layer(x))),
            "something in it is random",
            By(lambda layer, x: layer(x)),
        ),
    ],
)
def test_what_a_refusal_of_a_module_says_to_do_works(tmp_path: Path, wrong: nn.Module, says: str, right: nn.Module) -> None:
    with pytest.raises(ExportError, match=says):
        published(wrong, tmp_path)
    assert "probabilities" in published(right, tmp_path)


def test_real_items_tell_the_range_of_tokens(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="give real items: whole numbers are drawn from their range"):
        published(embedding(), tmp_path, TOKENS)
    assert published(embedding(), tmp_path, TOKENS, real_items=ITEMS) == ["probabilities"]


def graph(name: str = "x", extra: str = "", kind: int = TensorProto.FLOAT16) -> onnx.ModelProto:
    """From 4 numbers to 2 logits, and perhaps an output that no engine serves."""
    nodes = [helper.make_node("MatMul", [name, "w"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])]
    if extra:
        nodes.append(helper.make_node("Cast", ["y"], [extra], to=kind))
        outputs.append(helper.make_tensor_value_info(extra, kind, ["batch", 2]))
    weight = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])]
    made = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def adopted(proto: onnx.ModelProto, folder: Path, spec: InputSpec | None = None, **changes: object) -> list[str]:
    path = folder / "given.onnx"
    onnx.save(proto, path)
    request = ExportRequest("m", "classify", spec or own_input(path), labels=LABELS, output="y", **changes)  # type: ignore[arg-type]
    return [output.name for output in adopt_model(path, request, folder / "models").manifest.outputs]


def test_an_output_that_cannot_be_served_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="output 'embedding' cannot be served") as refused:
        adopted(graph(extra="embedding"), tmp_path)
    named = re.findall(r"--leave-out (\w+)", str(refused.value))
    assert adopted(graph(extra="embedding"), tmp_path, leave_out=named) == ["probabilities"]


def test_an_input_description_that_does_not_fit_a_file_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="or leave --input out: then items are the graph's own tensor"):
        adopted(graph(), tmp_path, ImageInput(height=2, width=2, channels=1))
    assert adopted(graph(), tmp_path) == ["probabilities"]


def test_a_file_whose_input_has_the_name_of_an_output_is_exported_again_with_another(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="export it again with another name of its input"):
        adopted(graph("score"), tmp_path)
    assert adopted(graph("row"), tmp_path) == ["probabilities"]


def test_the_same_name_with_other_labels_goes_under_another(tmp_path: Path) -> None:
    published(nn.Linear(6, 2), tmp_path)
    request = ExportRequest("m", "classify", VECTOR, labels=["a", "c"])
    with pytest.raises(ExportError, match="publish under another name"):
        export_model(nn.Linear(6, 2), request, tmp_path)
    assert export_model(nn.Linear(6, 2), ExportRequest("n", "classify", VECTOR, labels=["a", "c"]), tmp_path).version == 1
