"""networks/pt2_program.py and pt2_safety.py.

Exported programs (.pt2): what is in the file is no code, and fits what export needs of a network.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.export import Dim

from avizor_export.description.cli import describe
from avizor_export.networks.pt2_program import check_items, load_program
from avizor_inference.errors import ExportError

MARK = "ran"


class Small(nn.Module):
    """Every kind of argument that a plain network has: sizes, floats, constants, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 3)
        self.scale = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, pixels: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.convolution(pixels)))
        logits: Tensor = self.linear(maps.mean((2, 3)).reshape(pixels.shape[0], -1))
        return logits * self.scale


def save(
    path: Path, network: nn.Module | None = None, sizes: dict[int, Any] | None = None, shape: tuple[int, ...] = (2, 1, 8, 8)
) -> Path:
    """Export a network, in eval mode, with a batch that is free unless `sizes` says another."""
    network, free = (network or Small()).eval(), (sizes or {0: Dim("batch")},)
    torch.export.save(torch.export.export(network, (torch.rand(shape),), dynamic_shapes=free), path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("program") / "good.pt2")


def rewritten(path: Path, to: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None) -> Path:
    """The archive with its members changed, and others added in its folder."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return to


class Code:
    """Unpickled, it leaves a mark and is what torch expects there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"(open({MARK!r}, 'w').close(), (__import__('torch').ones(2, 1, 8, 8),))[1:] and ((), {{}})",)


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save(Code(), buffer)
    return buffer.getvalue()


TOUCH = f"open('{MARK}', 'w').close()"


def a_call(document: dict[str, Any]) -> None:
    """Of an operator that writes a file."""
    values = {"filename": {"as_string": MARK}, "shared": {"as_bool": True}, "size": {"as_int": 3}}
    graph = document["graph_module"]["graph"]
    graph["tensor_values"]["call"] = graph["tensor_values"]["linear"] | {"sizes": [{"as_int": 3}], "strides": [{"as_int": 1}]}
    node: dict[str, Any] = {
        "target": "torch.ops.aten.from_file.default",
        "inputs": [{"name": name, "arg": value, "kind": 1} for name, value in values.items()],
        "outputs": [{"as_tensor": {"name": "call"}}],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": "call",
    }
    graph["nodes"].insert(0, node)


def a_function(document: dict[str, Any]) -> None:
    """Of Python, where an operator should be."""
    document["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"


def a_size(document: dict[str, Any]) -> None:
    (value,) = document["graph_module"]["graph"]["sym_int_values"].values()
    value["as_expr"]["expr_str"] = f"[{TOUCH}, {value['as_expr']['expr_str']}][1]"


def a_guard(document: dict[str, Any]) -> None:
    document["guards_code"] = [f"{TOUCH} or 1 == 1"]


def a_name(document: dict[str, Any]) -> None:
    """Of the input, which torch writes into the head of a function."""
    text = json.dumps(document).replace('"pixels"', json.dumps(f"pixels=[{TOUCH}]"))
    document.clear()
    document.update(json.loads(text))


def a_weight(document: dict[str, Any]) -> None:
    """Its name, which torch writes between quotes."""
    specs = document["graph_module"]["signature"]["input_specs"]
    (weight,) = [each["parameter"] for each in specs if each.get("parameter", {}).get("parameter_name") == "linear.weight"]
    weight["parameter_name"] = f'linear.weight", {TOUCH}, "'


@pytest.mark.parametrize("change", [a_call, a_function, a_size, a_guard, a_name, a_weight])
def test_a_program_that_is_code_is_refused_and_not_run(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None]
) -> None:
    monkeypatch.chdir(tmp_path)

    def changed(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    evil = rewritten(program, tmp_path / "evil.pt2", changed)
    with pytest.raises(ExportError, match="is not allowed in a network"):
        load_program(evil)(torch.rand(2, 1, 8, 8))
    assert not (tmp_path / MARK).exists()


def as_pickles(content: bytes) -> bytes:
    """A list of tensors that says of each that it is a pickle."""
    document = json.loads(content)
    for payload in document["config"].values():
        payload["use_pickle"] = True
    return json.dumps(document).encode()


@pytest.mark.parametrize("member", ["data/sample_inputs/model.pt", "data/weights/weight_0", "data/constants/tensor_0"])
def test_a_pickle_within_a_program_is_refused_and_not_run(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def changed(name: str, content: bytes) -> bytes:
        if name == member:
            return pickled()
        return as_pickles(content) if name.endswith("_config.json") and Path(name).parent == Path(member).parent else content

    with pytest.raises(ExportError, match=f"{member} is a pickle of more than tensors"):
        load_program(rewritten(program, tmp_path / "evil.pt2", changed))
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("folder", ["weights", "constants"])
def test_tensors_in_one_pickle_as_older_versions_wrote_them(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    more = {f"good/data/{folder}/model.pt": pickled()}
    with pytest.raises(ExportError, match=f"data/{folder}/model.pt is a pickle of more than tensors"):
        load_program(rewritten(program, tmp_path / "evil.pt2", lambda _, content: content, more))
    assert not (tmp_path / MARK).exists()


def test_the_format_that_torch_falls_back_to(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(program) as archive:
        graph = archive.read("good/models/model.json")
    kinds = ("state_dict", "constants", "example_inputs")
    more = {"version": b"8.0", "serialized_exported_program.json": graph}
    more |= {f"serialized_{kind}.pt": pickled() for kind in kinds}
    # What is read first fails.
    evil = rewritten(program, tmp_path / "evil.pt2", lambda name, text: b"" if "config" in name else text, more)
    with pytest.raises(ExportError, match="format of torch before"):
        load_program(evil)
    assert not (tmp_path / MARK).exists()


def test_compiled_code_within_a_program_is_refused(program: Path, tmp_path: Path) -> None:
    library = {"good/data/aotinductor/model/model.so": os.urandom(16)}
    evil = rewritten(program, tmp_path / "evil.pt2", lambda _, content: content, library)
    with pytest.raises(ExportError, match=r"holds 'data/aotinductor/model/model\.so', which does not belong to a program"):
        load_program(evil)


class Branch(nn.Module):
    """Sizes that are free and compared: torch writes guards."""

    def forward(self, pixels: Tensor) -> Tensor:
        flat = pixels.flatten(1)
        return flat[:, :3] if pixels.shape[0] * pixels.shape[2] > 10 else flat[:, 1:4]


class Named(nn.Module):
    """Modules whose names are no identifiers, as torchvision's regnets have them, and a constant and buffers in them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({"block1-0": nn.Flatten(), "block 1": nn.BatchNorm1d(64), "2x-last": nn.Linear(64, 3)})
        self.blocks["2x-last"].scale = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, pixels: Tensor) -> Tensor:
        for block in self.blocks.values():
            pixels = block(pixels)
        scale = self.blocks["2x-last"].scale
        assert isinstance(scale, Tensor)
        return pixels * scale


@pytest.mark.parametrize(
    ("network", "sizes"), [(Small(), {}), (Small(), {0: Dim.AUTO}), (Branch(), {2: Dim.AUTO}), (Named(), {})]
)
def test_honest_programs_are_read(tmp_path: Path, network: nn.Module, sizes: dict[int, object]) -> None:
    path = save(tmp_path / "made.pt2", network, {0: Dim("batch"), **sizes})
    pixels = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(load_program(path)(pixels), network.eval()(pixels))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"nothere\.pt2 does not exist"):
        load_program(tmp_path / "nothere.pt2")


def test_a_momentum_of_one_is_not_training(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4, momentum=1))
    load_program(save(tmp_path / "made.pt2", network))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(64), nn.Dropout(0.5)])
def test_a_program_exported_in_training_mode_is_refused(tmp_path: Path, layer: nn.Module) -> None:
    program = torch.export.export(nn.Sequential(nn.Flatten(), layer).train(), (torch.rand(2, 1, 8, 8),))
    torch.export.save(program, tmp_path / "made.pt2")
    with pytest.raises(ExportError, match="was exported in training mode"):
        load_program(tmp_path / "made.pt2")


@pytest.mark.parametrize(
    ("batch", "examples", "message"),
    [
        (None, 2, "the batch dimension of .* is frozen at 2"),
        (Dim("batch", max=4), 2, "takes batches of 0 to 4, and a server sends any; export the program with"),
        (Dim("batch", min=4, max=64), 5, "takes batches of 4 to 64"),
    ],
)
def test_a_program_whose_batch_is_not_free_is_refused(tmp_path: Path, batch: object, examples: int, message: str) -> None:
    path = save(tmp_path / "made.pt2", Small(), {0: batch}, (examples, 1, 8, 8))
    with pytest.raises(ExportError, match=message):
        load_program(path)


def test_a_program_takes_what_the_front_end_gives(program: Path, tmp_path: Path) -> None:
    loaded = load_program(program)
    check_items(loaded, (1, 8, 8), "float32", program)
    with pytest.raises(
        ExportError, match=r"takes float32\[1, 8, 8\] for an item, and by --input it is given float32\[1, 9, 8\]"
    ):
        check_items(loaded, (1, 9, 8), "float32", program)
    with pytest.raises(ExportError, match=r"it is given int64\[1, 8, 8\]"):
        check_items(loaded, (1, 8, 8), "int64", program)
    free = load_program(save(tmp_path / "free.pt2", Small(), {0: Dim("batch"), 2: Dim("height", max=20)}))
    check_items(free, (1, 9, 8), "float32", program)
    with pytest.raises(ExportError, match=r"takes float32\[1, 0 to 20, 8\]"):
        check_items(free, (1, 21, 8), "float32", program)


def test_a_program_is_described_layer_by_layer(program: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(describe, [str(program)], catch_exceptions=False)
    assert result.exit_code == 0
    kinds = [line.split()[1] for line in result.output.splitlines()[1:4]]
    assert kinds[0].startswith("conv")
    assert "4x8x8" in result.output.splitlines()[1]
    free = save(tmp_path / "free.pt2", Small(), {0: Dim("batch"), 2: Dim("height", max=20)})
    assert "export it for one size" in str(CliRunner().invoke(describe, [str(free)]).exception)
