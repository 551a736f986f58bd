"""engines/shared_graph.py: processes share one joint model, whichever of them makes it, and however that one ends."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from unit.inference.graph_processes import OUTPUTS, answers, answers_there, die_while_making, take, versions_of

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.joint import open_joint
from avizor_inference.engines.shared_graph import SharedGraph

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def shared() -> Iterator[SharedGraph]:
    graph = SharedGraph.create()
    assert graph is not None
    with closing(graph):
        yield graph


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models, tmp_path / "models"))


def test_a_spawned_process_has_the_model_that_another_one_made_and_answers_as_that_one(
    folder: Path, shared: SharedGraph
) -> None:
    here = answers(folder, shared)
    for version in versions_of(folder):
        version.model_path.write_bytes(b"nobody reads it again")
    with ProcessPoolExecutor(1, spawn, initializer=take, initargs=(shared,)) as pool:
        there = pool.submit(answers_there, folder).result()
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_process_that_is_killed_while_it_makes_the_model_leaves_that_to_the_next(folder: Path, shared: SharedGraph) -> None:
    process = spawn.Process(target=die_while_making, args=(shared,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not shared.is_decided
    assert len(answers(folder, shared)) == len(OUTPUTS)


def test_models_that_answer_otherwise_when_joined_are_run_one_by_one_by_all_processes(
    folder: Path, shared: SharedGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_inference.engines.joint._agrees", lambda *_arguments: False)
    versions = versions_of(folder)
    assert open_joint(versions, shared) is None
    versions[0].model_path.write_bytes(b"nobody tries it again")
    assert open_joint(versions, shared) is None


def test_weights_are_used_where_they_are_also_when_the_files_are_closed(folder: Path) -> None:
    shared = SharedGraph.create()
    assert shared is not None
    versions = versions_of(folder)
    joint = open_joint(versions, shared)
    shared.close()
    assert joint is not None
    assert "/memfd:avizor-weights" in Path("/proc/self/maps").read_text()
    tensor = versions[0].manifest.input.tensor()
    rows = np.zeros((1, *tensor.item_shape), "float32")
    assert np.isfinite(joint.infer(InferRequest("kinds+normal", {tensor.name: rows}, OUTPUTS))["normal/score"]).all()


def test_a_model_with_few_weights_has_them_in_its_graph(shared: SharedGraph) -> None:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", ["x", "w"], ["y"])],
        "product",
        [value("x", 1, ["batch", 2])],
        [value("y", 1, ["batch", 2])],
        [onnx.numpy_helper.from_array(np.array([2, 3], "float32"), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    session, weights = shared.open(shared.optimise(model.SerializeToString(), "a product"), "a product", 1)
    assert len(weights) == 0
    np.testing.assert_array_equal(session.run(["y"], {"x": np.ones((1, 2), "float32")})[0], [[2, 3]])


def test_without_memory_files_models_are_run_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    assert open_joint(versions_of(folder)) is None
