"""`avizor describe package.module:factory`: the network of a factory, trained or not, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from avizor_export.description.cli import describe
from avizor_inference.errors import ExportError

NETS = """
import sys
from torch import nn

class Several(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.embed = nn.Embedding(256, 8)
        self.last = nn.LazyLinear(classes)

    def forward(self, x):
        means = self.embed(x).mean(1)
        return {"logits": self.last(means), "means": means}

class Result:
    def __init__(self, logits, means):
        self.logits, self.means, self.loss = logits, means, None

class Object(Several):
    def forward(self, x):
        return Result(**super().forward(x))

def fails(classes):
    raise KeyError("no such thing")

def stops(classes):
    sys.exit("usage")
"""
TOKENS = ("--input", "tensor:name=tokens,dtype=int64,item_shape=5")
IMAGES = ("--input", "image:height=32,width=32,channels=3")


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "describednets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(describe, arguments)


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize("name", ["Several", "Object"])
def test_an_untrained_network_with_several_outputs_is_described(name: str) -> None:
    result = run(f"describednets:{name}", "--set", "classes=3", *TOKENS)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f"describednets:{name}: input 5"
    assert [line.split()[:3] for line in lines[2:4]] == [["embed", "embedding", "5x8"], ["last", "linear", "3"]]
    assert lines[4].split() == ["total", "2,075", "24", "100.0%"]


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("describednets:Several", "--set", "classes=3"), "say with --input what one raw item is"),
        (("describednets:Several", "--set", "classes=3", *IMAGES), r"fails on items of \[3, 32, 32\], which --input describes"),
        (
            ("describednets:Several", *TOKENS),
            (
                "failed with TypeError: .* missing 1 required positional argument: 'classes'; "
                "give what it needs, .* --set NAME=JSON"
            ),
        ),
        (("describednets:fails", "--set", "classes=3", *TOKENS), "failed with KeyError: 'no such thing'"),
        (("describednets:stops", "--set", "classes=3", *TOKENS), "failed with SystemExit: usage"),
        (("describednets:nothing", *TOKENS), "has no attribute 'nothing'; it has to be importable from here or installed"),
        (("describednets:NETS", *TOKENS), "has no attribute 'NETS'"),
        (("describednets:nn.functional.relu", *TOKENS), "failed with TypeError"),
        (("math:sqrt", *TOKENS), "failed with TypeError"),
        (("describednets.py:Several", *TOKENS), "names a file, not a module; write describednets:Several"),
    ],
)
def test_what_cannot_be_described_is_refused_with_the_reason(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        raise run(*arguments).exception or AssertionError("it was described")


@pytest.mark.parametrize("arguments", [("torch.nn:Identity", "--size", "32"), ("lenet", *IMAGES), ("lenet", "--set", "a=1")])
def test_options_of_something_else_are_refused(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"Invalid value for {arguments[1]}:" in result.output
