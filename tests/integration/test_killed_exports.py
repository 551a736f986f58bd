"""Exports and tunes may be killed at any moment, and several may run at once: readers see only complete versions."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from support.environment import SCRIPTS
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_export.triton_config.config_pbtxt import published_settings
from avizor_inference.checks.check_version import check_model
from avizor_inference.digests import sha256_of_file
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import OVERRIDES_FILE, read_config

AVIZOR = Path(sys.executable).with_name("avizor")
PUBLISHER = SCRIPTS / "killed_publisher.py"
KILLED = -signal.SIGKILL
OVERRIDES = "version_policy { all {} }  # Ana wants both\n"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.uint8)

pytestmark = pytest.mark.kill


@contextmanager
def publisher(source: Path, models: Path) -> Iterator[subprocess.Popen[str]]:
    command: list[str | Path] = [sys.executable, PUBLISHER, source, models]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.communicate(timeout=20)
    assert process.returncode == 0


def publish(process: subprocess.Popen[str], kill_at: int = 0, what: str = "publish") -> int:
    """Publish (or tune) and die at an event; return how it ended. 0: do not die."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what} {kill_at}\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def visible(models: Path) -> list[str]:
    """What a reader sees of the model `digits`: its versions, all of them sound."""
    if not models.is_dir() or "digits" not in ModelRepository(models).names():
        return []
    repository = ModelRepository(models)
    assert check_model(repository, "digits") == []
    assert repository.names() == ["digits"]
    published_settings(models, "digits")  # raises unless config.pbtxt is whole
    return [f"digits/{version}" for version in repository.versions("digits")]


def infer(models: Path) -> None:
    with EmbeddedEngine(models) as engine:
        probabilities = engine.infer(InferRequest("digits", {"image": IMAGES}, ["probabilities"]))["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def rubbish(models: Path) -> set[str]:
    """What lies beside and in a repository of the model `digits` and does not belong there."""
    files = {path.name for folder in (models.parent, models, models / "digits") for path in folder.iterdir()}
    locks = {".avizor-lock-digits", ".avizor-choice-lock-digits"}
    known = {"models", "digits", *locks, "config.pbtxt", OVERRIDES_FILE, "labels.txt"}
    return {name for name in files - known if not name.isdecimal()}


@pytest.mark.parametrize("place", ["beside the repository", "in the repository"])
@pytest.mark.parametrize("published", [0, 1])
def test_killed_at_every_event(models: Path, tmp_path: Path, published: int, place: str) -> None:
    """Every state between two events of the publication is left behind once, and the next publication mends it."""
    source, repository = models / "digits" / "1", tmp_path / "here" / "models"
    blocker = repository.parent / ".avizor-staging-digits@models"
    seen: set[tuple[str, ...]] = set()
    before = [f"digits/{version}" for version in range(1, published + 1)]
    with publisher(source, repository) as process:
        for event in range(1, 1000):
            shutil.rmtree(repository.parent, ignore_errors=True)
            repository.parent.mkdir()
            if place == "in the repository":
                blocker.touch()  # a file of that name: nothing can be staged there
            for _ in range(published):
                assert publish(process) == 0
                (repository / "digits" / OVERRIDES_FILE).write_text(OVERRIDES)
            ended = publish(process, event)
            left = visible(repository)
            assert left in (before, [*before, f"digits/{published + 1}"]), f"killed at event {event}"
            seen.add(tuple(left))
            if left and event % 10 == 0:
                infer(repository)
            assert publish(process) == 0
            assert visible(repository) == [*left, f"digits/{len(left) + 1}"]
            assert rubbish(repository) <= ({blocker.name} if blocker.is_file() else set())
            for _ in range(published):
                assert (repository / "digits" / OVERRIDES_FILE).read_text() == OVERRIDES
                assert read_config(repository / "digits" / "config.pbtxt").version_policy.HasField("all")
            if ended == 0:
                break
    assert ended == 0, "it never ran through"
    assert event > 40, "it was not killed often enough to say anything"
    assert len(seen) == 2, "the killed ones left the old state or the new one"


def test_a_tune_that_is_killed_at_any_event_leaves_the_old_config_or_the_new_one(models: Path, tmp_path: Path) -> None:
    repository, seen = tmp_path / "models", set()
    with publisher(models / "digits" / "1", repository) as process:
        assert publish(process) == 0
        (repository / "digits" / OVERRIDES_FILE).write_text(OVERRIDES)
        for event in range(1, 1000):
            before = published_settings(repository, "digits").intra_op_threads or 0
            ended = publish(process, event, "tune")
            assert visible(repository) == ["digits/1"]
            after = published_settings(repository, "digits").intra_op_threads or 0
            seen.add(after - before)
            if after > before:
                assert read_config(repository / "digits" / "config.pbtxt").version_policy.HasField("all")
            if ended == 0:
                break
    assert ended == 0, "it never ran through"
    assert event > 10, "it was not killed often enough to say anything"
    assert seen == {0, 1}, "the killed ones left the old config or the new one"
    assert rubbish(repository) == set()


def test_triton_starts_over_what_killed_exports_left(models: Path, tmp_path: Path, triton_install: TritonInstall) -> None:
    """Triton takes any folder of a repository for a model, so nothing half made may lie there."""
    source, repository = models / "digits" / "1", tmp_path / "models"
    with publisher(source, repository) as process:
        publish(process)
        leftover = tmp_path / ".avizor-staging-digits@models"
        publish(process, 45)
        assert list(leftover.rglob("model.onnx")), "it was to be killed while a version was staged"
        shutil.rmtree(leftover)
        leftover.touch()
        publish(process, 45)
        assert list((repository / "digits" / ".avizor-staging").rglob("model.onnx"))
    with TritonServer(triton_install, repository, load_models=["*"]) as server:
        with triton.InferenceServerClient(server.grpc_url) as client:
            index = client.get_model_repository_index().models
            assert [(model.name, model.version, model.state) for model in index] == [("digits", "1", "READY")]
        with TritonEngine(server.grpc_url) as engine:
            assert engine.spec("digits", 1).sha256 == ModelRepository(repository).version("digits").manifest.model_sha256


def write_onnx(path: Path, seed: int) -> Path:
    """A linear classifier of four numbers into three classes, with weights of its own."""
    rng = np.random.default_rng(seed)
    weights = numpy_helper.from_array(rng.standard_normal((4, 3)).astype(np.float32), "w")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=1)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def start_export(file: Path, name: str, models: Path) -> subprocess.Popen[bytes]:
    (models.parent / "labels.txt").write_text("a\nb\nc\n")
    return subprocess.Popen(
        [
            AVIZOR,
            "export",
            file,
            "--name",
            name,
            "--task",
            "classify",
            "--labels",
            models.parent / "labels.txt",
            "--models",
            models,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def published_by(models: Path, name: str) -> dict[str, int]:
    """Digest of the file that each version was made of -> the version."""
    repository = ModelRepository(models)
    assert check_model(repository, name) == []
    manifests = [repository.version(name, version).manifest for version in repository.versions(name)]
    return {str(manifest.provenance.weights_sha256): manifest.version for manifest in manifests}


def run(models: Path, name: str, version: int, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    with EmbeddedEngine(models) as engine:
        return engine.infer(InferRequest(name, {"x": rows}, ["probabilities"], version=version))["probabilities"]


def test_real_exports_killed_and_at_once(tmp_path: Path) -> None:
    """Two are killed while they stage; then three run at once, two of them under one name."""
    models, rng, rows = tmp_path / "models", random.Random(0), np.eye(4, dtype=np.float32)
    files = {seed: write_onnx(tmp_path / f"{seed}.onnx", seed) for seed in range(3)}
    for _ in range(2):
        process = start_export(files[0], "twin", models)
        staged, until = tmp_path / ".avizor-staging-twin@models", time.monotonic() + 60
        while not staged.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        names = ModelRepository(models).names()
        assert [problem for name in names for problem in check_model(ModelRepository(models), name)] == []
    shutil.rmtree(models)
    at_once = [
        start_export(files[0], "twin", models),
        start_export(files[1], "twin", models),
        start_export(files[2], "other", models),
    ]
    for process in at_once:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output.decode()
    twin, other = published_by(models, "twin"), published_by(models, "other")
    digests = {seed: sha256_of_file(file) for seed, file in files.items()}
    assert sorted(twin.values()) == [1, 2]
    assert other == {digests[2]: 1}
    for seed, name, version in ((0, "twin", twin[digests[0]]), (1, "twin", twin[digests[1]]), (2, "other", 1)):
        wanted = ort.InferenceSession(files[seed]).run(None, {"x": rows})[0]
        np.testing.assert_allclose(run(models, name, version, rows), wanted, atol=1e-6)
    hidden = sorted(path.name for folder in (tmp_path, models) for path in folder.iterdir() if path.name.startswith("."))
    assert hidden == [".avizor-choice-lock-twin", ".avizor-lock-other", ".avizor-lock-twin"]
