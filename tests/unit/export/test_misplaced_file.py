"""networks/misplaced_file.py.

A file that is given in the wrong place: what it is, and what to write instead; and that this works.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from support.warm_starts import warm_run
from torch import nn

from avizor_export.architectures.catalogue import build
from avizor_export.cli import export
from avizor_inference.repository.models import ModelRepository

SPEC = "fc8 fc2"


def network() -> nn.Module:
    torch.manual_seed(0)
    return build(SPEC, 2, (4,)).eval()


def said_of(folder: Path, source: object, *options: object) -> str:
    """What the command says; empty where it publishes."""
    (folder / "labels.txt").write_text("a\nb\n")
    given = [source, "--name", "m", "--task", "classify", "--models", folder / "models", "--labels", folder / "labels.txt"]
    given += [] if str(source).endswith(".onnx") else ["--input", "tensor:item_shape=4"]
    result = CliRunner().invoke(export, [*map(str, given), *map(str, options)])
    if result.exit_code == 0:
        assert len(ModelRepository(folder / "models").version("m").manifest.labels or ()) == 2
        return ""
    assert not (folder / "models" / "m").exists()
    return f"{result.exception} {' '.join(result.output.split())}"


def program(path: Path) -> None:
    made = torch.export.export(network(), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with path.open("wb") as file:  # by name it has to end in .pt2
        torch.export.save(made, file)


def onnx_file(path: Path) -> None:
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(network(), (torch.zeros(2, 4),), path, dynamic_shapes=dynamic, opset_version=18, dynamo=True)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.ckpt", "net.bin", "net", "net.pth.tar"])
def test_a_weights_file_in_place_of_the_network_is_told_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save({"state_dict": network().state_dict()}, path)
    said = said_of(tmp_path, path)
    assert f"{path} is a file of weights, and NETWORK is an architecture" in said
    assert f"write avizor export NETWORK --weights {path}" in said
    assert said_of(tmp_path, SPEC, "--weights", path) == ""


def test_safetensors_in_place_of_the_network(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "net.safetensors")
    assert "is a file of weights, and NETWORK is an architecture" in said_of(tmp_path, tmp_path / "net.safetensors")
    assert said_of(tmp_path, SPEC, "--weights", tmp_path / "net.safetensors") == ""


def test_a_pickled_module_in_place_of_the_network_is_not_sent_on_to_the_next_refusal(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "net.pt")
    said = said_of(tmp_path, tmp_path / "net.pt")
    assert "is a file of torch.save, and NETWORK is an architecture" in said
    assert "it cannot be given with --weights as it is either" in said
    run_command(said)
    assert said_of(tmp_path, SPEC, "--weights", tmp_path / "net-weights.pt") == ""


def run_command(said: str) -> None:
    command = shlex.split(said.partition(" with: ")[2].partition(" ; then ")[0])
    warm_run([sys.executable, *command[1:]]).check_returncode()


@pytest.mark.parametrize("as_weights", [False, True])
def test_a_torchscript_file_has_its_weights_taken_by_the_command_that_is_said(tmp_path: Path, as_weights: bool) -> None:
    torch.jit.trace(network(), torch.zeros(1, 4)).save(tmp_path / "net.pt")
    given = (SPEC, "--weights", tmp_path / "net.pt") if as_weights else (tmp_path / "net.pt",)
    said = said_of(tmp_path, *given)
    assert "is a TorchScript file" in said
    run_command(said)
    assert said_of(tmp_path, SPEC, "--weights", tmp_path / "net-weights.pt") == ""


@pytest.mark.parametrize(
    ("name", "write", "ending"), [("net.pt", program, ".pt2"), ("net.pt2", program, ".pt2"), ("net.onnx", onnx_file, ".onnx")]
)
def test_a_network_with_its_weights_given_as_weights(
    tmp_path: Path, name: str, write: Callable[[Path], None], ending: str
) -> None:
    path = tmp_path / name
    write(path)
    said = said_of(tmp_path, SPEC, "--weights", path)
    renamed = path.with_suffix(ending)
    assert ("rename it to" in said) == (path != renamed)
    assert "give it as NETWORK, without --weights" in said
    path.rename(renamed)
    assert said_of(tmp_path, renamed) == ""


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("net.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 60, "is an HDF5 file, as Keras writes"),
        ("net.tflite", b"\x1c\0\0\0TFL3" + b"\0" * 60, "is a TensorFlow Lite file"),
        ("net.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("net.bin", b"of no kind" * 9, "is not a known kind of file"),
    ],
)
def test_files_of_other_tools(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    said = said_of(tmp_path, tmp_path / name)
    assert f"{tmp_path / name} {what}" in said
    assert "NETWORK is an architecture's name, a spec, package.module:factory, a .pt2 or an .onnx file" in said
    assert str(tmp_path / name) in said_of(tmp_path, SPEC, "--weights", tmp_path / name)


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder" in said_of(tmp_path, tmp_path)
    assert f"{tmp_path} is a folder" in said_of(tmp_path, SPEC, "--weights", tmp_path)
    assert "gone.pth does not exist, and NETWORK is an architecture" in said_of(tmp_path, "gone.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights-key", "ema"), "--weights-key chooses among the sets of weights in a --weights FILE"),
        (("--weights-in-factory",), "--weights-in-factory is for package.module:factory without --weights"),
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    assert message in said_of(tmp_path, SPEC, *options)
