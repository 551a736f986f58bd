"""Clients reach the gateway in a separate process, over real sockets, with the typed stub, and on both engines."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from integration.gateway import AVIZOR, Gateway, Stub, png, wav
from support.sounds import tone
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository


def test_models_are_listed_and_found_by_name(stub: Stub, models: Path) -> None:
    listed = stub.ListModels(pb.ListModelsRequest()).models
    assert [model.name for model in listed] == ["digits", "kinds", "normal", "transfers"]
    digits, kinds, autoencoder, table = listed
    assert (digits.image.height, digits.image.width, digits.image.channels) == (32, 32, 1)
    assert (kinds.audio.sample_rate, kinds.audio.window_samples) == (8000, 4096)
    assert list(kinds.labels) == ["low", "mid", "high"]
    assert dict(autoencoder.calibration.recordings) == {"a": 30, "b": 30}
    columns = [(column.name, list(column.categories)) for column in table.table.columns]
    assert columns == [("amount", []), ("hour", []), ("country", ["ES", "FR", "IT"])]
    meanings = {output.name: output.meaning for output in table.outputs}
    for name in ("error_map", "reconstruction"):
        assert meanings[name].endswith("; in order: amount, hour, country=ES, country=FR, country=IT")
    one = stub.GetModel(pb.GetModelRequest(name="digits"))
    assert one == digits
    assert one.sha256 == ModelRepository(models).version("digits").manifest.model_sha256
    assert (one.task, one.version, list(one.versions), one.max_batch_size) == (pb.TASK_CLASSIFY, 1, [1], 16)


def test_images_are_classified_as_by_the_engine(stub: Stub, models: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 32, 32)).astype(np.uint8)
    with EmbeddedEngine(models) as engine:
        rows = [
            engine.infer(InferRequest("digits", {"image": p[None, ..., None]}, ["probabilities"]))["probabilities"][0]
            for p in pixels
        ]
    items = [pb.Item(image=png(each)) for each in pixels]  # more than one batch of the model
    answer = stub.Classify(pb.ClassifyRequest(model="digits", items=items, top_k=10))
    assert answer.version == 1
    for item, row in zip(answer.items, rows, strict=True):
        assert [each.label for each in item.classes] == [str(index) for index in np.argsort(-row, kind="stable")]
        np.testing.assert_allclose([each.probability for each in item.classes], np.sort(row)[::-1], atol=1e-5)


def test_images_of_any_kind_and_size_are_brought_to_the_models(stub: Stub) -> None:
    grey = np.full((32, 32), 77, np.uint8)
    variants = [
        png(grey),
        png(np.full((100, 60), 77, np.uint8)),
        png(np.full((64, 64, 3), 77, np.uint8)),
        png(np.full((32, 32, 4), (77, 77, 77, 255), np.uint8)),
        png(grey, "BMP"),
        png(grey, "TIFF"),
    ]
    answer = stub.Classify(pb.ClassifyRequest(model="digits", items=[pb.Item(image=each) for each in variants]))
    found = [(item.classes[0].label, round(item.classes[0].probability, 4)) for item in answer.items]
    assert len(set(found)) == 1


def test_sound_is_classified_by_window_and_as_a_whole(stub: Stub) -> None:
    samples = tone(1.3)
    request = pb.ClassifyRequest(model="kinds", items=[pb.Item(audio=wav(samples)), pb.Item(audio=wav(samples, kind="FLAC"))])
    first, second = stub.Classify(request).items
    assert first.classes[0].label == second.classes[0].label
    assert first.classes[0].probability == pytest.approx(second.classes[0].probability, abs=1e-4)
    spans = [(window.span.start_s, window.span.end_s) for window in first.windows]
    assert spans == [(0.0, 0.512), (0.512, 1.024), (pytest.approx(1.3 - 0.512), 1.3)]
    assert len(first.classes) == 1


def test_a_raw_tensor_is_answered_like_the_image_that_it_holds(stub: Stub) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (32, 32, 1)).astype(np.uint8)
    tensor = pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=pixels.tobytes())
    items = [pb.Item(tensor=tensor), pb.Item(image=png(pixels[..., 0]))]
    raw, encoded = stub.Classify(pb.ClassifyRequest(model="digits", items=items)).items
    assert raw == encoded


def test_a_generic_client_can_use_health_and_reflection(served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "avizor.v1.InferenceService"):
            deadline = time.monotonic() + 10
            while True:  # the first look at the engine may still be under way
                try:
                    status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
                    break
                except grpc.RpcError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "avizor.v1.InferenceService" in database.get_services()
        file = database.FindFileContainingSymbol("avizor.v1.InferenceService")
        methods = [method.name for service in file.service for method in service.method]
        assert methods == [method.name for method in pb.DESCRIPTOR.services_by_name["InferenceService"].methods]
    assert warm_run([str(AVIZOR), "health", "--target", served.address]).returncode == 0


def test_many_clients_at_once_get_their_own_answers(served: Gateway) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (6, 32, 32)).astype(np.uint8)
    requests = [pb.ClassifyRequest(model="digits", items=[pb.Item(image=png(each))], top_k=10) for each in pixels]
    with grpc.insecure_channel(served.address) as channel:
        stub = served.stub(channel)
        expected = [stub.Classify(request).items[0].classes for request in requests]
        wrong: list[int] = []

        def ask(index: int) -> None:
            for _ in range(15):
                classes = stub.Classify(requests[index]).items[0].classes
                for got, wanted in zip(classes, expected[index], strict=True):
                    if got.label != wanted.label or abs(got.probability - wanted.probability) > 1e-5:
                        wrong.append(index)

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
