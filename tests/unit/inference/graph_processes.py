"""What processes do that multiprocessing spawns for test_shared_graph.py: they can import no test module."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.joint import open_joint
from avizor_inference.engines.shared_graph import SharedGraph
from avizor_inference.repository.models import ModelRepository, ModelVersion

OUTPUTS = ["kinds/probabilities", "normal/score"]
taken: SharedGraph


def versions_of(folder: Path) -> list[ModelVersion]:
    return [ModelRepository(folder).version(name) for name in ("kinds", "normal")]


def answers(folder: Path, shared: SharedGraph) -> list[np.ndarray]:
    versions = versions_of(folder)
    joint = open_joint(versions, shared)
    assert joint is not None
    tensor = versions[0].manifest.input.tensor()
    rows = np.random.default_rng(3).standard_normal((4, *tensor.item_shape)).astype("float32")
    return list(joint.infer(InferRequest("kinds+normal", {tensor.name: rows}, OUTPUTS)).values())


def take(shared: SharedGraph) -> None:
    global taken
    taken = shared


def answers_there(folder: Path) -> list[np.ndarray]:
    return answers(folder, taken)


def die_while_making(shared: SharedGraph) -> None:
    with shared.alone():
        os.pwrite(shared._weights, b"half of them", 0)
        os.pwrite(shared._graph, b"half of it\n" * 10_000, 1)
        os.kill(os.getpid(), signal.SIGKILL)
