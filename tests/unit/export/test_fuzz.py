"""Readers of files from elsewhere.

Damaged files give an error of Avizor's tree, whoever reads them: no traceback, crash or hang. Seeded, so repeatable.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from support.environment import SCRIPTS
from support.scripts.fuzz_reader import flipped

from avizor_export.description.targets import layers_of_design, layers_of_file
from avizor_export.networks.input_description import parse_input
from avizor_export.networks.onnx_sandbox import check_in_sandbox
from avizor_export.networks.weights_files import read_weights
from avizor_inference.checks.check_version import check_model
from avizor_inference.cli import models as models_command
from avizor_inference.digests import sha256_of_file
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import AvizorError, ExportError, RepositoryError, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import parse_config

READER = SCRIPTS / "fuzz_reader.py"
NONSENSE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**62,
    2**80,
    -(2**63),
    "",
    "../../etc/passwd",
    "a/b\n",
    [],
    {},
    [[[]]],
    "NaN",
    "١",
)


def look(folder: Path, name: str) -> list[str]:
    """A model through every reader of a repository: list, check, engine. What check says; no reader may raise anything else."""
    for arguments in (["--models", str(folder)], ["check", "--models", str(folder)]):
        result = CliRunner().invoke(models_command, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.output
    problems = check_model(ModelRepository(folder), name)
    assert all(problems)
    with EmbeddedEngine(folder, device="cpu") as engine:
        try:
            spec = engine.spec(name)
            tensor = next(iter(spec.inputs.values()))
            engine.infer(InferRequest(name, {tensor.name: np.zeros((1, *tensor.item_shape), tensor.dtype)}, list(spec.outputs)))
        except AvizorError as error:
            assert str(error)
    return problems


def only(models: Path, name: str, folder: Path) -> Path:
    """A repository of one model, to be damaged; its card and plots left out."""
    shutil.copytree(models / name, folder / name, ignore=shutil.ignore_patterns("card*"))
    return folder


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> str:
    damaged = copy.deepcopy(document)
    holder = damaged
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return json.dumps(damaged)


def damaged_texts(text: str, rng: random.Random, count: int) -> Iterator[bytes]:
    """JSON with fields that are missing or nonsense, and bytes that are damaged."""
    document = json.loads(text)
    paths = list(places(document))
    for _ in range(count):
        kind, path = rng.randrange(3), rng.choice(paths)
        if kind == 0:
            yield changed(document, path, lambda holder, key: holder.pop(key)).encode()
        elif kind == 1:
            nonsense = rng.choice(NONSENSE)
            yield changed(document, path, lambda holder, key, value=nonsense: holder.__setitem__(key, value)).encode()  # type: ignore[misc]
        else:
            yield flipped(text.encode(), rng)


@pytest.mark.parametrize(
    ("name", "file"), [("digits", "manifest.json"), ("normal", "manifest.json"), ("normal", "calibrations/*.json")]
)
def test_manifests_and_calibrations(models: Path, tmp_path: Path, name: str, file: str) -> None:
    folder = only(models, name, tmp_path)
    path = sorted((folder / name / "1").glob(file))[0]
    refused = 0
    for damaged in damaged_texts(path.read_text(), random.Random(0), 60):
        path.write_bytes(damaged)
        refused += bool(look(folder, name))
    assert refused > 30


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.replace('"opset": 18', '"opset": 18, "opset": 18'), "'opset' is repeated"),
        (lambda s: s.replace('"opset": 18', '"opset": NaN'), "opset"),
        (lambda s: s.replace('"largest_absolute": ', '"largest_absolute": NaN, "was": ', 1), "finite number"),
        (lambda s: s.replace('"evaluation": {}', '"evaluation": ' + '{"a":' * 5000 + "0" + "}" * 5000), "is not a manifest"),
        (lambda s: s.replace('"name": "digits"', '"name": "../digits"', 1), "name"),
        (lambda s: s.replace('"name": "digits"', '"name": "' + "d" * 300 + '"', 1), "name"),
        (lambda s: s.replace('"height": 32', '"height": 4611686018427387904'), "image"),
        (lambda s: s.replace('"height": 32', '"height": 0'), "greater than 0"),
        (lambda s: s.replace('"height": 32', '"height": -32'), "greater than 0"),
        (lambda s: "[" * 100_000, "is not a manifest"),
        (lambda s: "", "is not a manifest"),
    ],
)
def test_a_manifest_says_what_is_wrong_with_it(
    models: Path, tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    folder = only(models, "digits", tmp_path)
    path = folder / "digits" / "1" / "manifest.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before, "the test changed nothing"
    (problem, *_) = look(folder, "digits")
    assert message in problem
    with EmbeddedEngine(folder, device="cpu") as engine, pytest.raises(VersionRefused):
        engine.spec("digits")


def test_configs(models: Path, tmp_path: Path) -> None:
    folder, rng = only(models, "digits", tmp_path), random.Random(0)
    path = folder / "digits" / "config.pbtxt"
    text = path.read_bytes()
    for _ in range(60):
        path.write_bytes(flipped(text, rng))
        look(folder, "digits")
    for size in (b"0", b"-1", b"2147483647", b"99999999999999999999", b"1e9", b"nan"):
        path.write_bytes(text.replace(b"max_batch_size: 16", b"max_batch_size: " + size))
        assert look(folder, "digits") or size == b"2147483647"


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize(
    "text", ["{" * 100_000, "input {" * 100_000, 'name: "\\xff"', "name: 'a' name: 'b'", "\0", "max_batch_size: 1 " * 2]
)
def test_a_config_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RepositoryError, match="somewhere is not a Triton model configuration"):
        parse_config(text, "somewhere")


def test_an_onnx_file_that_is_damaged_before_its_digest_is_taken(models: Path, tmp_path: Path) -> None:
    folder, rng = only(models, "digits", tmp_path), random.Random(0)
    path, manifest = folder / "digits" / "1" / "model.onnx", folder / "digits" / "1" / "manifest.json"
    data, before, digest = path.read_bytes(), manifest.read_text(), sha256_of_file(path)
    # Most of the file is weights, which may be anything; the graph is before and after them.
    for start in [*rng.sample(range(3000), 20), *rng.sample(range(len(data) - 3000, len(data)), 20)]:
        path.write_bytes(data[:start] + flipped(data[start:], rng))
        manifest.write_text(before.replace(digest, sha256_of_file(path)))
        look(folder, "digits")


def test_what_lies_in_a_repository_and_does_not_belong_there(models: Path, tmp_path: Path) -> None:
    folder = only(models, "digits", tmp_path)
    (folder / "bad\n\x1b[31mname").mkdir()
    (folder / "empty").mkdir()
    (folder / "a file").touch()
    Path(str(folder) + "/\udcff\udcfe").mkdir()  # a name that is no text
    for name in ("0", "007", "١", "2.5", "9" * 200):
        (folder / "digits" / name).mkdir()
    (folder / "digits" / "labels.txt").write_bytes(b"\xff\xfe")
    (folder / "labelled").mkdir()
    (folder / "labelled" / "1").symlink_to(folder / "nowhere")
    assert ModelRepository(folder).versions("digits") == [1]
    assert look(folder, "digits") == ["digits/1: labels.txt: is not the manifest's 10 labels"]
    lines = CliRunner().invoke(models_command, ["--models", str(folder)]).output.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["name", "bad??[31mname", "digits", "empty", "labelled", "\\udcff\\udcfe"]
    assert len({line.index("  ") for line in lines[:1]}) == 1
    shutil.rmtree(folder / "digits" / "1")
    (folder / "digits" / "1").write_text("no folder")
    with pytest.raises(AvizorError, match="has no version"):
        ModelRepository(folder).version("digits")


def classifier(path: Path, *more: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()) -> Path:
    """conv, relu, pool, reshape, matmul, softmax over float32[n, 1, 8, 8] into 3 classes; `more` makes y of y0."""
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(rng.standard_normal((2, 1, 3, 3)).astype(np.float32), "kernel"),
        numpy_helper.from_array(rng.standard_normal((32, 3)).astype(np.float32), "matrix"),
        numpy_helper.from_array(np.array([0, -1]), "flat"),
        *constants,
    ]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y0" if more else "y"], axis=1),
        *more,
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.slow
def test_files_from_elsewhere(tmp_path: Path) -> None:
    """ONNX files, programs, weights, arrays and tables, in a process of its own that has to live through all of them."""
    classifier(tmp_path / "net.onnx")
    network = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
    torch.save(network.state_dict(), tmp_path / "zip.pt")
    torch.save(network.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    program = torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "net.pt2")
    items = np.ones((8, 4), np.float32)
    for number in range(8):  # eight times as many cases as of the files that take longer to read
        np.save(tmp_path / f"items{number}.npy", items)
        np.savez_compressed(tmp_path / f"held_out{number}.npz", items=items, labels=np.array(["a", "b"] * 4))
        rows = pa.table({"a": [0.5, 1] * 4, "b": ["x", "y"] * 4, "label": ["ok", "rattle"] * 4})
        pyarrow.parquet.write_table(rows, tmp_path / f"rows{number}.parquet")
        pyarrow.csv.write_csv(rows, tmp_path / f"rows{number}.csv")
    process = subprocess.run(
        [sys.executable, READER, tmp_path, "0", "15"], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    lines = process.stdout.splitlines()
    assert process.returncode == 0, f"it died at: {lines[-1]}\n{process.stderr[-500:]}"
    assert [line for line in lines if " FAULT: " in line] == []
    outcomes = Counter((line.split()[1], line.split()[3]) for line in lines)
    for reader in (
        "read_graph",
        "describe",
        "adopt",
        "adopt_autoencoder",
        "adopt_frozen",
        "weights",
        "program",
        "items",
        "held_out",
        "rows",
    ):
        assert outcomes[reader, "refused:"] >= 10, (reader, outcomes)
    assert min(outcomes["adopt", "ok"], outcomes["adopt_frozen", "ok"]) >= 5, outcomes


def endless(path: Path) -> Path:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in (("i", 7, []), ("go", 9, []), ("v", 1, None))
        ],
        [helper.make_tensor_value_info("again", 9, []), helper.make_tensor_value_info("w", 1, None)],
    )
    true = numpy_helper.from_array(np.array(True), "true")
    return classifier(path, helper.make_node("Loop", ["", "true", "y0"], ["y"], body=body), constants=(true,))


def test_the_first_look_is_passed_by_a_sound_file_and_meets_no_file(tmp_path: Path) -> None:
    check_in_sandbox(classifier(tmp_path / "net.onnx"))
    with pytest.raises(ExportError, match="cannot be read"):
        check_in_sandbox(tmp_path / "nowhere.onnx")


def test_the_first_look_ends_a_graph_that_does_not_end(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not run 8 items within 2 s"):
        check_in_sandbox(endless(tmp_path / "loop.onnx"), limit_s=2)


def test_the_first_look_says_the_same_when_processor_time_runs_out_first(tmp_path: Path) -> None:
    busy = "from avizor_export.networks.onnx_sandbox import _set_limits\n_set_limits(1)\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", busy], check=False, timeout=60).returncode == -signal.SIGXCPU
    file = endless(tmp_path / "loop.onnx")
    killer = threading.Thread(target=signal_the_looker, args=(file, signal.SIGXCPU))
    killer.start()
    with pytest.raises(ExportError, match="does not run 8 items within 30 s"):
        check_in_sandbox(file, limit_s=30)
    killer.join()


def test_the_first_look_refuses_a_graph_that_wants_terabytes(tmp_path: Path) -> None:
    size = numpy_helper.from_array(np.array([2**20, 2**20]), "size")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["most"], keepdims=0),
        helper.make_node("Add", ["y0", "most"], ["y"]),
    ]
    with pytest.raises(ExportError, match="cannot be run"):
        check_in_sandbox(classifier(tmp_path / "big.onnx", *nodes, constants=(size,)))


def signal_the_looker(file: Path, number: int) -> None:
    while not (found := [child for child in psutil.Process().children() if str(file) in child.cmdline()]):
        time.sleep(0.01)
    found[0].send_signal(number)


def test_the_first_look_survives_the_process_that_looks(tmp_path: Path) -> None:
    file = endless(tmp_path / "loop.onnx")
    # What the kernel sends to native code that reads what is not there.
    killer = threading.Thread(target=signal_the_looker, args=(file, signal.SIGSEGV))
    killer.start()
    with pytest.raises(ExportError, match="crashed the process that checked it"):
        check_in_sandbox(file, limit_s=30)
    killer.join()


@pytest.mark.parametrize(
    "design", ["conv8k999999999999 fc10", "conv8k9999999999999999999999 fc10", "fc99999999999999999999999999 fc2"]
)
def test_a_design_that_no_memory_holds_is_refused(design: str) -> None:
    with pytest.raises(ExportError, match=design.split()[0]):
        layers_of_design(design, 10, (3, 32, 32))


def test_a_file_that_holds_nothing_has_no_layers(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"x\n")
    with pytest.raises(ExportError, match="has no nodes"):
        layers_of_file(tmp_path / "empty.onnx")


def test_nonsense_is_not_taken_for_a_pickle_that_runs_code(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"nonsense" * 10)
    with pytest.raises(ExportError, match="is damaged, or was not saved by torch"):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    "text", ["image:height=999999999,width=99999999,channels=3", "tensor:item_shape=" + "/".join(["1"] * 40)]
)
def test_an_input_that_no_message_holds_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="input description"):
        parse_input(text)
