"""graph/optional_outputs.py.

An optional output may be left out by name; what is refused for its sake alone says so, and that way out works.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from avizor_export.cli import export
from avizor_export.exporter import adopt_model, export_model
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput, TensorInput
from avizor_inference.repository.models import ModelRepository

IMAGE = ImageInput(height=8, width=8, channels=3)
LABELS = ["a", "b"]


class Network(nn.Module):
    """Its last map is `wrong` in a way that its probabilities do not show."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last, self.linear, self.wrong = nn.Conv2d(3, 4, 3), Last(wrong), nn.Linear(4, 2), wrong

    def forward(self, x: Tensor) -> Tensor:
        maps = self.last(self.conv(x))
        logits: Tensor = self.linear(torch.tanh(1e-9 * maps if self.wrong else maps).nan_to_num().mean((2, 3)))
        return logits


class Last(nn.Module):
    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        if self.wrong == "mean of the batch":
            return x - x.mean(0, keepdim=True)
        if self.wrong == "size of the batch":
            return x / x.shape[0]
        if self.wrong == "jumps":
            return torch.sin(1e8 * x)
        return x / torch.zeros_like(x) if self.wrong == "infinite" else x


def request(*leave_out: str, name: str = "m") -> ExportRequest:
    return ExportRequest(name, "classify", IMAGE, labels=LABELS, leave_out=leave_out)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("mean of the batch", "items of a batch influence each other: activations"),
        ("size of the batch", "activations of an item differs between a batch of 1 and one of 8, whatever else is in it"),
        ("infinite", "output activations of the network is not finite"),
        ("jumps", "activations"),
    ],
)
def test_what_is_refused_for_an_optional_output_names_the_option_and_it_works(tmp_path: Path, wrong: str, says: str) -> None:
    with pytest.raises(ExportError, match=says) as refused:
        export_model(Network(wrong), request(), tmp_path)
    named = re.findall(r"--leave-out (\w+)", str(refused.value))
    assert named == ["activations"]
    outputs = [output.name for output in export_model(Network(wrong), request(*named), tmp_path).manifest.outputs]
    assert outputs == ["probabilities", "embedding"]


def test_what_has_to_be_there_is_not_offered_to_be_left_out(tmp_path: Path) -> None:
    class Mixing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.mean(0, keepdim=True)).mean((2, 3))[:, :2]

    with pytest.raises(ExportError, match="influence each other: probabilities") as refused:
        export_model(Mixing(), request(), tmp_path)
    assert "--leave-out" not in str(refused.value)


@pytest.mark.parametrize(
    ("task", "name"), [("classify", "probabilities"), ("reconstruct", "score"), ("reconstruct", "activations")]
)
def test_what_no_version_can_be_without_is_refused(tmp_path: Path, task: str, name: str) -> None:
    asked = ExportRequest("m", task, IMAGE, labels=LABELS, leave_out=[name])  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=f"{name} cannot be left out where the task is {task}; embedding"):
        export_model(Network(), asked, tmp_path)


def test_nothing_of_what_is_left_out_is_in_graph_config_manifest_or_card(tmp_path: Path) -> None:
    version = export_model(Network(), request("activations", "embedding"), tmp_path)
    assert [output.name for output in onnx.load(version.model_path).graph.output] == ["probabilities"]
    files = [version.folder / "manifest.json", version.folder / "card.md", version.folder.parent / "config.pbtxt"]
    for file in files:
        assert "activations" not in file.read_text()
        assert "embedding" not in file.read_text()


def test_of_an_onnx_file_too(tmp_path: Path) -> None:
    given = export_model(Network(), request(name="given"), tmp_path / "given").model_path
    spec = TensorInput(name="image", dtype="uint8", item_shape=IMAGE.tensor().item_shape)
    asked = ExportRequest("m", "classify", spec, labels=LABELS, output="probabilities", leave_out=["activations"])
    version = adopt_model(given, asked, tmp_path / "models")
    assert {output.name for output in version.manifest.outputs} == {"probabilities", "embedding"}


@pytest.mark.slow
def test_a_later_version_keeps_the_same_outputs_and_is_told_how(tmp_path: Path) -> None:
    export_model(Network(), request("activations"), tmp_path)
    with pytest.raises(ExportError, match="it has no activations: --leave-out activations"):
        export_model(Network(), request(), tmp_path)
    export_model(Network(), request("activations"), tmp_path)
    with pytest.raises(ExportError, match="it has embedding, which this version lacks; publish under another name"):
        export_model(Network(), request("activations", "embedding"), tmp_path)
    assert ModelRepository(tmp_path).version("m").version == 2


def test_the_command_takes_it_twice(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    free, path = ({0: torch.export.Dim("batch")},), tmp_path / "g.onnx"
    torch.onnx.export(
        linear.eval(), (torch.rand(2, 3, 8, 8),), path, dynamo=True, dynamic_shapes=free, input_names=["x"], verbose=False
    )
    command = [str(path), "--name", "m", "--task", "classify", "--labels", str(tmp_path / "labels.txt")]
    command += ["--models", str(tmp_path / "models"), "--leave-out", "activations", "--leave-out", "embedding"]
    result = CliRunner().invoke(export, command)
    assert result.exit_code == 0, result.output
    assert "Note: the version has no" not in result.output  # nobody is told how to have what was left out
