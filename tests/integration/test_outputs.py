"""Multi-label and binary classifiers, from their export to the answers of a gateway, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from integration.gateway import Gateway, Stub, gateway, wav
from support.sounds import FRAMES, SOUND, tone
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.catalogue import build
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_model
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository

THRESHOLDS = (0.25, 0.999, 0.25)
ROWS = np.array([[5, 0, 0, 0], [-5, 0, 0, 0], [0, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: `tags`, of sounds, with several labels; and `faulty`, of rows, with one logit: their first number."""
    folder = tmp_path_factory.mktemp("outputs") / "models"
    torch.manual_seed(0)
    tagger = torch.nn.Sequential(build("conv4 pool gap fc", 3, (1, 16, FRAMES)), torch.nn.Sigmoid())
    request = ExportRequest("tags", "classify", SOUND, labels=["hum", "hiss", "click"], thresholds=THRESHOLDS)
    export_model(tagger, request, folder)
    detector = torch.nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        detector.weight.copy_(torch.eye(1, 4))
    export_model(
        detector, ExportRequest("faulty", "classify", TensorInput(name="x", item_shape=(4,)), labels=["good", "bad"]), folder
    )
    return folder


@pytest.fixture(scope="module", params=["embedded", "triton"])
def running(request: pytest.FixtureRequest, repository: Path) -> Iterator[Gateway]:
    if request.param == "embedded":
        with gateway(repository) as running:
            yield running
        return
    with (
        TritonServer(request.getfixturevalue("triton_install"), repository) as server,
        gateway(repository, "--engine", f"triton://{server.grpc_url}") as running,
    ):
        yield running


@pytest.fixture
def tagging(running: Gateway) -> Iterator[Stub]:
    with grpc.insecure_channel(running.address) as channel:
        yield running.stub(channel)


def test_a_multi_label_model_answers_all_classes_over_their_thresholds(tagging: Stub, repository: Path) -> None:
    samples = tone(1.3)
    windows = np.stack([samples[start : start + 4096] for start in (0, 4096, len(samples) - 4096)])
    with EmbeddedEngine(repository) as engine:
        rows = engine.infer(InferRequest("tags", {"waveform": windows}, ["probabilities"]))["probabilities"]
    assert not np.allclose(rows.sum(axis=1), 1, atol=0.05)
    labels = np.array(["hum", "hiss", "click"])

    def expected(row: np.ndarray) -> list[str]:
        order = np.argsort(-row)
        return list(labels[order][(row >= THRESHOLDS)[order]])

    (item,) = tagging.Classify(pb.ClassifyRequest(model="tags", items=[pb.Item(audio=wav(samples))])).items
    assert [each.label for each in item.classes] == expected(rows.mean(axis=0)) != []
    assert [[each.label for each in window.classes] for window in item.windows] == [expected(row) for row in rows]
    (item,) = tagging.Classify(pb.ClassifyRequest(model="tags", items=[pb.Item(audio=wav(samples))], top_k=3)).items
    assert {each.label: each.is_over_threshold for each in item.classes} == {
        label: bool(value >= threshold) for label, value, threshold in zip(labels, rows.mean(axis=0), THRESHOLDS, strict=True)
    }
    np.testing.assert_allclose([each.probability for each in item.classes], np.sort(rows.mean(axis=0))[::-1], atol=1e-4)


def test_a_client_is_told_how_probabilities_are_made(tagging: Stub, repository: Path) -> None:
    tags = tagging.GetModel(pb.GetModelRequest(name="tags"))
    assert tags.activation == pb.ACTIVATION_SIGMOID
    assert list(tags.thresholds) == pytest.approx(THRESHOLDS)
    faulty = tagging.GetModel(pb.GetModelRequest(name="faulty"))
    assert (faulty.activation, list(faulty.thresholds), list(faulty.labels)) == (pb.ACTIVATION_SOFTMAX, [], ["good", "bad"])
    assert [check_model(ModelRepository(repository), name) for name in ("tags", "faulty")] == [[], []]


def test_a_binary_model_answers_one_of_its_two_classes(tagging: Stub) -> None:
    items = [pb.Item(tensor=pb.Tensor(dtype="float32", shape=[4], data=row.tobytes())) for row in ROWS]
    answer = tagging.Classify(pb.ClassifyRequest(model="faulty", items=items)).items
    found = [(item.classes[0].label, item.classes[0].probability) for item in answer]
    p = 1 / (1 + np.exp(-5))
    assert found == [("bad", pytest.approx(p, abs=1e-5)), ("good", pytest.approx(p, abs=1e-5)), ("good", pytest.approx(0.5))]
    assert not any(item.classes[0].is_over_threshold for item in answer)
