"""Factories and state dicts: what is loaded as it is meant, and what is refused with the reason."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avizor_export.loading.factories import load_network
from avizor_export.loading.state_dicts import load_weights, read_state
from avizor_inference.errors import ExportError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "weights.pt")
    return folder / "weights.pt"


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in network().state_dict().items()}


def optimizer() -> dict[str, Any]:
    made = network()
    steps = torch.optim.Adam(made.parameters())
    made(torch.rand(2, 6)).sum().backward()
    steps.step()
    return steps.state_dict()


@pytest.mark.parametrize(
    "content",
    [
        network().state_dict(),
        {"state_dict": network().state_dict(), "epoch": 3},
        {"model_state_dict": network().state_dict(), "optimizer_state_dict": optimizer(), "loss": 0.25},
        {"model": prefixed("module."), "args": {"lr": 0.1}},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
    ],
    ids=["plain", "state_dict", "with an optimizer", "model", "module.", "_orig_mod.", "both"],
)
def test_state_dicts_and_checkpoints_are_loaded(tmp_path: Path, content: object) -> None:
    loaded = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    load_weights(loaded, read_state(saved(tmp_path, content)), "weights.pt")
    for name, value in network().state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    parallel = nn.DataParallel(network())
    load_weights(parallel, prefixed("module."), "weights.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({1: torch.ones(1)}, "1 .* is no name of a parameter"),
        ({"0.weight": "x"}, "'0.weight' is a str and no tensor"),
        ([1, 2], "holds a list"),
        ({"epoch": 3, "loss": 0.5}, "'epoch' is a int and no tensor"),
        ({"g": network().state_dict(), "d": network().state_dict()}, "holds the weights of several networks: g, d"),
        ({"state_dict": network().state_dict(), "accuracy": np.float64(0.3)}, r"holds numpy\S*scalar besides tensors"),
        ({"state_dict": network().state_dict(), "args": argparse.Namespace(a=1)}, "holds argparse.Namespace besides tensors"),
        (network(), r"holds torch.nn\S*Sequential besides tensors.*torch.save\(model.state_dict\(\)"),
    ],
    ids=["int keys", "str values", "list", "no weights", "two networks", "numpy scalar", "Namespace", "module"],
)
def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_state(saved(tmp_path, content))


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(ExportError, match="it is empty"):
        read_state(tmp_path / "empty.pt")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"0.weight": torch.ones(4, 6), "0.bias": torch.ones(4)}, "it lacks 2.bias, 2.weight$"),
        (network().state_dict() | {"loss.weight": torch.ones(1)}, "the network has no loss.weight$"),
        (
            network().state_dict() | {"2.weight": torch.ones(3, 4), "2.bias": torch.ones(3)},
            r"2.weight is \[3, 4\] and the network's \[2, 4\]; 2.bias is \[3\] and the network's \[2\]$",
        ),
        ({f"layer{n}.weight": torch.ones(1) for n in range(9)}, "no layer0.weight, layer1.weight, layer2.weight and 6 more$"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ExportError, match=message) as refused:
        load_weights(network(), state, "weights.pt")
    assert "\n" not in str(refused.value)


def test_a_compiled_module_is_taken_as_the_module_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "factory_compiled.py").write_text("import torch\nmake = lambda: torch.compile(torch.nn.Linear(6, 4))\n")
    weights = saved(tmp_path, {"_orig_mod.weight": torch.ones(4, 6), "_orig_mod.bias": torch.ones(4)})
    loaded = load_network("factory_compiled:make", {}, weights)
    assert type(loaded) is nn.Linear
    assert bool((loaded.weight == 1).all())


@pytest.mark.parametrize(
    ("source", "factory", "message"),
    [
        ("def make(:", "{}:make", "cannot import .* SyntaxError"),
        ("raise ValueError('no data')", "{}:make", "cannot import .* ValueError: no data"),
        ("import sys\nsys.exit(3)", "{}:make", "cannot import .* SystemExit: 3"),
        ("", "{}:make", "cannot import"),
        ("def make(): raise SystemExit('which data?')", "{}:make", "failed with SystemExit: which data"),
        ("", "./{}.py:make", "write {}:make"),
        ("", "folder/{}.py:make", "write folder.{}:make"),
        ("", ".{}:make", "write package.module:factory"),
    ],
)
def test_a_factory_that_fails_is_named_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, source: str, factory: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"factory_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(ExportError, match=message.format(name)):
        load_network(factory.format(name), {}, None)
    sys.modules.pop(name, None)
