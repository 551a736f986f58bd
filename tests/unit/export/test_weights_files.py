"""networks/factories.py, state_dicts.py and weights_files.py.

Factories and state dicts: what is loaded as it is meant, and what is refused with the reason.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from support.warm_starts import warm_run
from torch import Tensor, nn

from avizor_export.networks.factories import load_network
from avizor_export.networks.state_dicts import load_weights
from avizor_export.networks.weights_files import read_weights
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


def fresh() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def refused(path: Path, key: str | None = None, network: nn.Module | None = None) -> str:
    with pytest.raises(ExportError) as error:
        load_weights(network or fresh(), read_weights(path), key)
    assert "\n" not in str(error.value)
    return str(error.value)


def is_loaded(loaded: nn.Module, values: dict[str, Tensor] | None = None) -> bool:
    wanted = values or network().state_dict()
    return all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())


def average() -> dict[str, Tensor]:
    return {name: value * 0.5 for name, value in network().state_dict().items()}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (network().state_dict(), "."),
        ({"state_dict": network().state_dict(), "epoch": 3}, "state_dict"),
        ({"model_state_dict": network().state_dict(), "optimizer_state_dict": optimizer(), "loss": 0.25}, "model_state_dict"),
        ({"model": prefixed("module."), "args": {"lr": 0.1}}, "model.module"),
        (prefixed("module."), "module"),
        (prefixed("_orig_mod."), "_orig_mod"),
        (prefixed("module._orig_mod."), "module._orig_mod"),
        (prefixed("model."), "model"),
        (prefixed("net.module._orig_mod."), "net.module._orig_mod"),
        (prefixed("backbone.body."), "backbone.body"),
        ({"epoch": 1, "nested": {"deeper": prefixed("model.")}}, "nested.deeper.model"),
    ],
)
def test_weights_are_found_under_whatever_stands_before_their_names(
    tmp_path: Path, content: object, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = fresh()
    assert load_weights(loaded, read_weights(saved(tmp_path, content))) == key
    assert is_loaded(loaded)
    assert caplog.messages == []


def test_a_wrapper_around_a_part_of_the_network_is_no_part_of_its_names(tmp_path: Path) -> None:
    content = {"model.0.module.weight": torch.ones(4, 6), "model.0.module.bias": torch.ones(4)}
    content |= {"model.2._orig_mod.weight": torch.ones(2, 4), "model.2._orig_mod.bias": torch.ones(2)}
    loaded = fresh()
    assert load_weights(loaded, read_weights(saved(tmp_path, content))) == "model"
    assert is_loaded(loaded, {name: torch.ones_like(value) for name, value in network().state_dict().items()})


def test_a_prefix_that_the_network_has_itself_stays(tmp_path: Path) -> None:
    for content in (prefixed("module."), network().state_dict()):
        parallel = nn.DataParallel(fresh())
        load_weights(parallel, read_weights(saved(tmp_path, content)))
        assert is_loaded(parallel.module)


def lightning(**more: Any) -> dict[str, Any]:
    """A checkpoint as Lightning writes it, its hyper-parameters from the command line."""
    return {
        "epoch": 4,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed("model.") | {"criterion.weight": torch.ones(2)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "", "best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer()],
        "lr_schedulers": [],
        "hparams_name": "args",
        "hyper_parameters": {"args": argparse.Namespace(lr=0.1, data=Path("data"), since=datetime.datetime(2024, 5, 1))},
        **more,
    }


def test_a_checkpoint_of_lightning_is_read_and_what_is_left_out_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = fresh()
    path = saved(tmp_path, lightning())
    assert load_weights(loaded, read_weights(path)) == "state_dict.model"
    assert is_loaded(loaded)
    (said,) = caplog.messages
    assert said.startswith(f"{path}: the network's weights are those under 'state_dict.model'; left out: state_dict.criterion.")
    assert "best_model_score" in said


def averaged(network: nn.Module) -> dict[str, Any]:
    made: dict[str, Any] = torch.optim.swa_utils.AveragedModel(network).state_dict()
    return made


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"state_dict": network().state_dict(), "ema_state_dict": average()}, ["state_dict", "ema_state_dict"]),
        ({"state_dict": network().state_dict(), "state_dict_ema": average()}, ["state_dict", "state_dict_ema"]),
        ({"model": network().state_dict(), "ema": average(), "args": argparse.Namespace()}, ["model", "ema"]),
        (
            {"state_dict": prefixed("model.") | {f"ema_model.module.{name}": value for name, value in average().items()}},
            ["state_dict.model", "state_dict.ema_model.module"],
        ),
        (network().state_dict() | {f"ema.{name}": value for name, value in average().items()}, [".", "ema"]),
        (
            lightning(current_model_state={f"model.{n}": v for n, v in average().items()}),
            ["state_dict.model", "current_model_state.model"],
        ),
        ({"g": network().state_dict(), "d": average()}, ["g", "d"]),
    ],
)
def test_averaged_weights_beside_the_others_are_a_choice(tmp_path: Path, content: object, keys: list[str]) -> None:
    path = saved(tmp_path, content)
    said = refused(path)
    assert f"choose with --weights-key {keys[0]} or --weights-key {keys[1]}" in said
    for key, values in zip(keys, (network().state_dict(), average()), strict=True):
        loaded = fresh()
        assert load_weights(loaded, read_weights(path), key) == key
        assert is_loaded(loaded, values)


def test_the_choice_may_be_a_key_of_the_checkpoint_with_more_below_it(tmp_path: Path) -> None:
    other = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    path = saved(tmp_path, {"model": network().state_dict(), "model_ema": averaged(other)})
    loaded = fresh()
    assert load_weights(loaded, read_weights(path), "model_ema") == "model_ema.module"
    assert is_loaded(loaded, other.state_dict())
    assert "has nothing under 'average' (--weights-key); at its top level are model, model_ema" in refused(path, "average")


def test_two_sets_that_are_the_same_are_no_choice(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": network().state_dict(), "ema": network().state_dict()})
    assert load_weights(fresh(), read_weights(path)) == "model"


@pytest.mark.parametrize(
    ("average", "said"),
    [
        (
            {"decay": 0.99, "shadow_params": [torch.ones(4, 6), torch.ones(4)]},
            "2 tensors without names under ema.shadow_params",
        ),
        ({"shadow": {"0.weight": torch.ones(4, 6), "2.weight": torch.ones(2, 4)}}, "ema.shadow (2 tensors)"),
    ],
)
def test_averages_that_cannot_be_loaded_are_not_dropped_without_a_word(
    tmp_path: Path, average: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    load_weights(fresh(), read_weights(saved(tmp_path, {"state_dict": network().state_dict(), "ema": average})))
    assert caplog.messages[0].endswith(f"left out: {said}")


def test_an_averaged_model_of_torch_is_loaded(tmp_path: Path) -> None:
    loaded = fresh()
    load_weights(loaded, read_weights(saved(tmp_path, averaged(network()))))
    assert is_loaded(loaded)


def test_batch_norms_of_before_torch_counted_batches_are_loaded(tmp_path: Path) -> None:
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    state = {name: value for name, value in made.state_dict().items() if not name.endswith("num_batches_tracked")}
    loaded = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    load_weights(loaded, read_weights(saved(tmp_path, {"state_dict": state})))
    assert is_loaded(loaded, made.state_dict())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight


def test_safetensors_are_read_and_found_by_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(prefixed("model."), path)
    loaded = fresh()
    assert load_weights(loaded, read_weights(path)) == "model"
    assert is_loaded(loaded)
    path.rename(tmp_path / "model.bin")
    assert load_weights(fresh(), read_weights(tmp_path / "model.bin")) == "model"
    tied, again = Tied(), Tied()
    save_model(tied, str(path))  # it writes a weight that two layers share once
    load_weights(again, read_weights(path))
    assert is_loaded(again, tied.state_dict())


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(network().state_dict(), path)
    whole = path.read_bytes()
    for content in (whole[:-4], whole[:50], b"", b"nonsense" * 9):
        path.write_bytes(content)
        assert f"{path} is not a safetensors file that can be read: " in refused(path)


def run_command(said: str) -> None:
    """Run the command that an error advises."""
    command = shlex.split(said.partition(" with: ")[2].partition(" ; then ")[0])
    warm_run([sys.executable, *command[1:]]).check_returncode()


def test_a_checkpoint_in_several_files_is_joined_by_the_command_that_is_said(tmp_path: Path) -> None:
    shards = {
        "model-00001-of-00002.safetensors": ["0.weight", "0.bias"],
        "model-00002-of-00002.safetensors": ["2.weight", "2.bias"],
    }
    for name, names in shards.items():
        save_file({each: network().state_dict()[each] for each in names}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {each: name for name, names in shards.items() for each in names}}))
    said = refused(index)
    assert "is the index of a checkpoint in several files" in said
    run_command(said)
    whole = tmp_path / "whole.safetensors"
    assert said.endswith(f"then give --weights {whole}")
    loaded = fresh()
    load_weights(loaded, read_weights(whole))
    assert is_loaded(loaded)


@pytest.mark.parametrize(
    "content",
    [
        network(),
        {"model": None, "ema": network()},
        {"state_dict": network().state_dict(), "best": np.float64(0.3)},
        lightning(x=np.dtype("f4")),
    ],
    ids=["module", "modules", "numpy", "lightning"],
)
def test_a_file_that_holds_code_is_converted_by_the_command_that_is_said(tmp_path: Path, content: object) -> None:
    said = refused(saved(tmp_path, content))
    assert "loading it would run code from the file" in said
    run_command(said)
    made = tmp_path / "weights-weights.pt"
    assert said.endswith(f"then give --weights {made}")
    loaded = fresh()
    load_weights(loaded, read_weights(made))
    assert is_loaded(loaded)


def test_the_conversion_says_what_it_leaves_out(tmp_path: Path) -> None:
    content = {"model": network().state_dict(), "ema": np.ones(3)}
    command = ["-m", "avizor_export.networks.trusted_file", str(saved(tmp_path, content)), str(tmp_path / "made.pt")]
    process = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert process.stderr == "left out: ema (a ndarray)\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({1: torch.ones(1)}, "1 .* is not the name of a parameter"),
        ({"0.weight": "x"}, "'0.weight' is a str, not a tensor"),
        ([1, 2], "holds a list"),
        ({}, "it holds nothing"),
        ({"epoch": 3, "loss": 0.5}, "'epoch' is a int, not a tensor"),
        ({"state_dict": network().state_dict(), "accuracy": np.float64(0.3)}, r"holds numpy\S*scalar besides tensors"),
        (network(), r"holds torch.nn\S*Sequential besides tensors.*torch.save\(model.state_dict\(\)"),
    ],
    ids=["int keys", "str values", "list", "nothing", "no weights", "numpy scalar", "module"],
)
def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_weights(saved(tmp_path, content))


class Opens:
    """What a pickle may do when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_no_code_of_a_file_is_run_even_within_what_is_known(tmp_path: Path) -> None:
    content = lightning(hyper_parameters=argparse.Namespace(value=Opens(tmp_path / "opened")))
    assert "io.open besides tensors" in refused(saved(tmp_path, content))
    assert not (tmp_path / "opened").exists()


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(ExportError, match="it is empty"):
        read_weights(tmp_path / "empty.pt")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"0.weight": torch.ones(4, 6), "0.bias": torch.ones(4)}, "it lacks 2.bias, 2.weight$"),
        (
            network().state_dict() | {"loss.weight": torch.ones(1)},
            "the network has no loss.weight; name a network that has it too, or save",
        ),
        (
            network().state_dict() | {"2.weight": torch.ones(3, 4), "2.bias": torch.ones(3)},
            r"2.weight is \[3, 4\] and the network's \[2, 4\]; 2.bias is \[3\] and the network's \[2\]$",
        ),
        ({f"layer{n}.weight": torch.ones(1) for n in range(9)}, "no layer0.weight, layer1.weight, layer2.weight and 6 more"),
        (prefixed("model.") | {"model.4.weight": torch.ones(1)}, r"no 4.weight; .* \(under 'model'\)$"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path, state: dict[str, Tensor], message: str) -> None:
    assert re.search(message, refused(saved(tmp_path, state)))


def test_a_compiled_module_is_taken_as_the_module_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "factory_compiled.py").write_text("import torch\nmake = lambda: torch.compile(torch.nn.Linear(6, 4))\n")
    weights = saved(tmp_path, {"_orig_mod.weight": torch.ones(4, 6), "_orig_mod.bias": torch.ones(4)})
    loaded, _ = load_network("factory_compiled:make", {}, weights)
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
        ("", "/some/folder/{}.py:make", "go to the folder /some/folder, and write {}:make"),
        ("", "../folder/{}.py", "go to the folder ../folder, and write {}:factory"),
        ("", "my-net.py:make", "rename it, as 'my-net' is not the name of a module"),
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
