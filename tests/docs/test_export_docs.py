"""docs/export.md: its commands run unchanged, and it describes every option."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from support.environment import ROOT
from support.sounds import tone, write_wav

from avizor_cli.main import avizor
from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.cli import export
from avizor_inference.repository.models import ModelRepository

DOCS = ROOT / "docs"
PAGE = (DOCS / "export.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
MYNETS = """
from avizor_export.architectures.catalogue import build_autoencoder

def sound_autoencoder(latent):
    return build_autoencoder(f"conv4s2bn conv8s2bn latent{latent}", (1, 16, 16))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page's commands name."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    (folder / "labels.txt").write_text("whole\ncracked\n")
    parts(folder)
    sounds(folder)
    transfers(folder)
    theirs(folder)
    iris(folder)
    quantised(folder)
    return folder


def parts(folder: Path) -> None:
    """Dark pictures and light ones, and a network that has learnt which is which."""
    rng = np.random.default_rng(0)
    light = np.arange(140) % 2
    pictures = (rng.integers(0, 100, (140, 16, 16)) + 150 * light[:, None, None]).astype(np.uint8)
    for number, (picture, label) in enumerate(zip(pictures, light, strict=True)):
        path = folder / "parts" / ("train" if number < 40 else "held-out") / ("whole", "cracked")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    network = build("conv8 pool conv16 pool fc2", 2, (1, 16, 16))
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    items = torch.from_numpy(pictures[:40, None]).float() / 255
    for _ in range(30):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(items), torch.from_numpy(light[:40])).backward()
        optimiser.step()
    torch.save(network.state_dict(), folder / "parts.pt")
    (folder / "figures.json").write_text(json.dumps({"accuracy on shift A": 0.93}))
    (folder / "training.json").write_text(json.dumps({"loss": [0.7, 0.2, 0.1]}))


def sounds(folder: Path) -> None:
    (folder / "mynets.py").write_text(MYNETS)
    torch.save(build_autoencoder("conv4s2bn conv8s2bn latent4", (1, 16, 16)).state_dict(), folder / "fan.pt")
    for number in range(40):
        write_wav(folder / "sounds" / "normal" / f"fan-{number % 2}_{number:04d}.wav", tone(0.6, seed=number))
    for number in range(4):
        write_wav(folder / "sounds" / "held-out" / "good" / f"{number}.wav", tone(0.6, seed=100 + number))
        write_wav(folder / "sounds" / "held-out" / "rattle" / f"{number}.wav", tone(0.6, seed=200 + number, hz=2000))


def transfers(folder: Path) -> None:
    rng = np.random.default_rng(0)
    torch.save(build_autoencoder("fc8 latent2", (3,)).state_dict(), folder / "transfers.pt")

    def write(name: str, column: str, values: list[str]) -> None:
        rows = rng.uniform(0, 1, (len(values), 3))
        lines = [",".join([*(f"{each:.3f}" for each in row), value]) for row, value in zip(rows, values, strict=True)]
        (folder / name).write_text("\n".join([f"amount,hour,balance,{column}", *lines]) + "\n")

    write("normal.csv", "account", [f"00{number % 2}" for number in range(40)])
    write("labelled.csv", "label", ["ok", "fraud"] * 5)


def theirs(folder: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.last = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)

        def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hidden = self.hidden(rows).relu()
            return self.last(hidden), hidden

    torch.onnx.export(
        Net().eval(), (torch.zeros(2, 4),), folder / "theirs.onnx", input_names=["rows"], output_names=["logits", "hidden"],
        dynamic_shapes=({0: torch.export.Dim("batch")},), opset_version=18, external_data=False, dynamo=True,
    )  # fmt: skip
    rows: NDArray[np.float32] = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    np.save(folder / "rows.npy", rows)
    np.savez(folder / "rows.npz", items=rows, labels=np.array(["whole", "cracked"] * 10))


def iris(folder: Path) -> None:
    items, numbers = load_iris(return_X_y=True)
    labels = np.array(["setosa", "versicolor", "virginica"])[numbers]
    forest = RandomForestClassifier(5, random_state=0).fit(items.astype(np.float32), labels)
    (folder / "iris.onnx").write_bytes(to_onnx(forest, items[:1].astype(np.float32)).SerializeToString())
    lines = [",".join([*map(str, row), label]) for row, label in zip(items, labels, strict=True)]
    columns = "sepal_length,sepal_width,petal_length,petal_width,label"
    (folder / "iris.csv").write_text("\n".join([columns, *lines]) + "\n")


def quantised(folder: Path) -> None:
    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [{"rows": np.load(folder / "rows.npy")}]

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return self._left.pop() if self._left else None

    weights = np.random.default_rng(3).standard_normal((4, 4)).astype(np.float32)
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("rows", "again")]
    product = helper.make_node("MatMul", ["rows", "w"], ["again"])
    graph = helper.make_graph([product], "g", tensors[:1], tensors[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "plain.onnx")
    quantize_static(folder / "plain.onnx", folder / "quantised.onnx", Rows(), quant_format=QuantFormat.QDQ)


@pytest.mark.slow
def test_each_command_of_the_page_runs_as_it_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mynets", raising=False)  # of another page, which was run in this process
    said = {}
    for command in COMMANDS:
        result = CliRunner().invoke(avizor, command, catch_exceptions=False)
        assert result.exit_code == 0, f"{command}: {result.output}"
        said[command[command.index("--name") + 1] if "--name" in command else command[-1]] = result.output
    assert list(said) == ["parts", "fan", "transfers", "theirs", "iris", "quantised", "models", "check"]
    assert said["check"] == "fan: ok\niris: ok\nparts: ok\nquantised: ok\ntheirs: ok\ntransfers: ok\n"
    versions = {name: ModelRepository("models").version(name) for name in ("parts", "fan", "transfers", "theirs", "iris")}
    evaluation = {name: version.manifest.evaluation for name, version in versions.items()}
    assert evaluation["parts"]["accuracy"] == pytest.approx(1, abs=0.02)
    assert evaluation["parts"]["accuracy on shift A"] == 0.93
    assert versions["parts"].manifest.precision == "int8"
    # A sound of 0.6 s is two windows.
    assert {name: each["held_out_items"] for name, each in evaluation.items()} == {
        "parts": 100, "fan": 16, "transfers": 10, "theirs": 20, "iris": 150
    }  # fmt: skip
    assert evaluation["iris"]["accuracy"] == pytest.approx(1, abs=0.05)
    assert ModelRepository("models").version("quantised").manifest.precision == "int8"
    assert "roc_auc" in evaluation["fan"]
    calibrations = [calibration for name in ("fan", "transfers") for calibration in versions[name].calibrations()]
    assert [list(each.sources) for each in calibrations] == [["fan-0", "fan-1"], ["000", "001"]]


def test_every_option_has_its_page() -> None:
    pages = PAGE + (DOCS / "targets.md").read_text(encoding="utf-8")
    options = [[*parameter.opts, *parameter.secondary_opts] for parameter in export.params]
    options = [names for names in options if names[0].startswith("--")]
    assert ["--name"] in options
    assert [names for names in options if not any(re.search(rf"{name}(?![a-z-])", pages) for name in names)] == []
