"""docs/outputs.md: its commands and its code run unchanged, and what it says of several labels holds in a batch job too."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from support.environment import ROOT
from support.sounds import SAMPLE_RATE, tone, write_wav

from avizor_cli.main import avizor
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository

PAGE = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
MYTAGS = """
import torch

class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = torch.nn.Linear(16, 8), torch.nn.Linear(8, 3)

    def forward(self, x):  # a log-mel: [batch, 1, bands, frames]
        hidden = self.hidden(x.mean(3).flatten(1)).relu()
        return {"clipwise_output": self.last(hidden).sigmoid(), "frames": x}

def tagger():
    return Tagger()

def detector():
    return torch.nn.Linear(4, 1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page's commands name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "mytags.py").write_text(MYTAGS)
    (tmp_path / "tags.txt").write_text("hum\nhiss\nclick\n")
    (tmp_path / "faulty.txt").write_text("good\nfaulty\n")
    (tmp_path / "thresholds.json").write_text('{"click": 0.25, "hum": 0.45, "hiss": 0.999}')
    import mytags  # type: ignore[import-not-found]

    torch.manual_seed(0)
    torch.save(mytags.tagger().state_dict(), tmp_path / "tags.pt")
    torch.save(mytags.detector().state_dict(), tmp_path / "faulty.pt")
    rng = np.random.default_rng(0)
    items = np.stack([tone(4096 / SAMPLE_RATE, seed=seed) for seed in range(12)])
    np.savez(tmp_path / "tags.npz", items=items, labels=rng.integers(0, 2, (12, 3)))
    for number in range(2):
        write_wav(tmp_path / "sounds" / "a" / f"{number}.wav", tone(1.3, seed=number))
    return tmp_path


def test_each_command_of_the_page_runs_as_it_stands(folder: Path) -> None:
    said = []
    for command in COMMANDS:
        result = CliRunner().invoke(avizor, command, catch_exceptions=False)
        assert result.exit_code == 0, f"{command}: {result.output}"
        said.append(result.output)
    tags, faulty = (ModelRepository("models").version(name).manifest for name in ("tags", "faulty"))
    assert (tags.activation, tags.thresholds) == ("sigmoid", (0.45, 0.999, 0.25))
    assert {output.name: output.item_shape for output in tags.outputs} == {"probabilities": (3,), "embedding": (8,)}
    assert tags.evaluation.keys() == {"mean_average_precision", "macro_f1", "held_out_items"}
    assert "multi-label: each class has its own probability; classes count as present" in said[0]
    assert "macro_f1" in said[0]
    assert (faulty.activation, faulty.labels, faulty.outputs[0].item_shape) == ("softmax", ("good", "faulty"), (2,))
    for table, files in (("windows", 2), ("recordings", 2)):
        rows: list[dict[str, Any]] = pq.read_table(folder / "out" / table).to_pylist()
        assert len({row["uri"] for row in rows}) == files
        for row in rows:
            labels = [each["label"] for each in row["labels"]]
            assert "hiss" not in labels
            assert row["label"] in ("hum", "hiss", "click")
            if table == "windows":
                probabilities = {each["label"]: each["probability"] for each in row["top_k"]}
                present = {"hum"} if probabilities["hum"] >= 0.45 else set()
                assert set(labels) == present | ({"click"} if probabilities["click"] >= 0.25 else set())
    check = CliRunner().invoke(avizor, ["models", "check"])
    assert check.output == "faulty: ok\ntags: ok\n"


def test_the_module_that_takes_one_tensor_instead_of_two(tmp_path: Path) -> None:
    code: dict[str, Any] = {"torch": torch}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], code)

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = torch.nn.Linear(3, 2), torch.nn.Linear(5, 2)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.left(left) + self.right(right)
            return logits

    request = ExportRequest("m", "classify", TensorInput(name="x", item_shape=(8,)), labels=["a", "b"])
    assert export_model(code["OneInput"](Two()), request, tmp_path).manifest.parity.passed
