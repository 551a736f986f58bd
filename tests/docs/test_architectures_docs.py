"""docs/architectures.md: its commands run unchanged and print the output shown, and its tables agree with the code."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support.environment import ROOT
from torch import nn

from avizor_cli.main import avizor
from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.architectures.spec_grammar import WORDS, options_of

PAGE = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
# Commands, and what the last of a block prints where the page shows it.
EXAMPLES = [
    (shlex.split(line)[1:], shown if line == block.splitlines()[-1] else "")
    for block, shown in re.findall(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)
    for line in block.splitlines()
]
# The lines that build networks in Python, and `mynets.py` of the page.
BUILT, MODULE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# What MODULE needs of transformers, which is not installed for tests: the result is an object that is a dict of tensors, too.
TRANSFORMERS = """
from collections import OrderedDict
from dataclasses import dataclass, fields
from torch import Tensor, nn

@dataclass
class ViTConfig:
    image_size: int = 224
    patch_size: int = 16
    hidden_size: int = 768
    num_attention_heads: int = 12
    num_labels: int = 2

@dataclass
class ImageClassifierOutput(OrderedDict):
    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)

class ViTForImageClassification(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patches = nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size)
        self.layer = nn.TransformerEncoderLayer(config.hidden_size, config.num_attention_heads, 96, batch_first=True)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pixel_values=None, labels=None, **kwargs):
        hidden = self.layer(self.patches(pixel_values).flatten(2).transpose(1, 2))
        return ImageClassifierOutput(logits=self.classifier(hidden[:, 0]))
"""
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.fixture
def module_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynets.py").write_text(MODULE)
    (tmp_path / "transformers.py").write_text(TRANSFORMERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("mynets", "transformers"):  # of another page, which was run in this process
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("module_of_the_page")
@pytest.mark.parametrize(("arguments", "shown"), EXAMPLES, ids=[" ".join(arguments) for arguments, _ in EXAMPLES])
def test_a_command_of_the_page_runs_and_prints_what_is_shown(arguments: list[str], shown: str) -> None:
    printed = CliRunner().invoke(avizor, arguments, catch_exceptions=False).output
    assert "total" in printed
    assert not shown or printed == shown


def test_the_architectures_are_those_of_the_catalogue() -> None:
    found = {row[0].strip("`"): row for row in ROWS if len(row) == 5}
    assert list(found) == list(ARCHITECTURES)
    for name, (_, given, parameters, smallest, batch_norm) in found.items():
        known = ARCHITECTURES[name]
        assert given == f"{'x'.join(map(str, known.shape))}, {known.classes} classes"
        assert (parameters, smallest) == (f"{known.parameters:,}", str(known.smallest))
        assert (batch_norm == "if asked for") is known.batch_norm


def test_the_words_and_their_options_are_those_of_the_grammar() -> None:
    found = {word: re.findall("`(.*?)`", row[2]) for row in ROWS if len(row) == 4 for word in re.findall("`(.*?)`", row[0])}
    assert set(found) == set(WORDS)
    for word, options in found.items():
        assert set(options) == options_of(word)


def test_networks_are_built_in_python_as_shown() -> None:
    names: dict[str, nn.Module] = {}
    exec(BUILT, names)
    assert names["digits"](torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert names["fan"](torch.zeros(2, 1, 64, 32)).shape == (2, 1, 64, 32)
