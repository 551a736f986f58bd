"""docs/onnx-files.md: its commands run unchanged."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.environment import ROOT
from torch import Tensor, nn

from avizor_cli.main import avizor
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository

PAGE = (ROOT / "docs" / "onnx-files.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line)[1:] for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


class Shuffled(nn.Module):
    """Ends in a convolution, and has the batch size in its reshapes, as code with x.shape[0] has once it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = nn.functional.gelu(self.first(x))
        batch, _, height, width = maps.shape
        maps = maps.view(batch, 2, 4, height, width).transpose(1, 2).reshape(batch, 8, height, width)
        pooled: Tensor = self.last(maps.mean((2, 3), keepdim=True))
        return pooled


class AnySize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.first(x).relu().mean((2, 3)))
        return logits


class Percent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        percentages: Tensor = 100 * self.layer(x).sigmoid()
        return percentages


@pytest.mark.slow
def test_each_command_of_the_page_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("bolt\nnut\nscrew\n")
    torch.manual_seed(0)
    zoo, any_size = Shuffled().eval(), AnySize().eval()
    torch.onnx.export(zoo, (torch.zeros(1, 3, 16, 16),), "zoo.onnx", input_names=["x"], verbose=False)  # as by default
    sizes = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        any_size, (torch.zeros(2, 3, 40, 40),), "any-size.onnx", verbose=False, dynamic_shapes=({0: sizes, 2: sizes, 3: sizes},)
    )  # fmt: skip
    percent = Percent().eval()
    torch.onnx.export(
        percent, (torch.zeros(2, 4),), "percent.onnx", input_names=["x"], verbose=False, dynamic_shapes=({0: sizes},)
    )
    for command in COMMANDS:
        result = CliRunner().invoke(avizor, command, catch_exceptions=False)
        assert result.exit_code == 0, f"{command}: {result.output}"
    assert "on the file's own batches of 1" in ModelRepository("models").version("zoo").manifest.parity.compared_with
    rows = torch.randn(5, 3, 16, 16)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
    with EmbeddedEngine("models") as engine, torch.inference_mode():
        freed = engine.infer(InferRequest("zoo", {"x": rows.numpy()}, ["probabilities"]))["probabilities"]
        fixed = engine.infer(InferRequest("any-size", {"image": pixels}, ["probabilities"]))["probabilities"]
        expected = any_size(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).softmax(1)
        np.testing.assert_allclose(freed, zoo(rows).flatten(1).softmax(1).numpy(), atol=1e-5)
        shares = engine.infer(InferRequest("percent", {"x": rows[:, 0, 0, :4].numpy()}, ["probabilities"]))["probabilities"]
        np.testing.assert_allclose(100 * shares, percent(rows[:, 0, 0, :4]).numpy(), atol=1e-4)
        np.testing.assert_allclose(fixed, expected.numpy(), atol=1e-5)
