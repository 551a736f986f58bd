"""Triton's own client, unmodified, drives the gateway over the Open Inference Protocol, on both engines."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from integration.gateway import IMAGE, Gateway, Stub, gateway
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine

PIXELS = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def client(served: Gateway) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as made:
        yield made


@pytest.fixture(scope="module")
def expected(models: Path) -> dict[str, np.ndarray]:
    with EmbeddedEngine(models) as engine:
        return engine.infer(InferRequest("digits", {"image": PIXELS}, ["probabilities", "embedding", "activations"]))


def image(pixels: np.ndarray = PIXELS, module: Any = triton) -> Any:
    tensor = module.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return tensor


def test_outputs_are_those_of_the_engine(client: triton.InferenceServerClient, expected: dict[str, np.ndarray]) -> None:
    result = client.infer("digits", [image()], request_id="seven")
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("digits", "1", "seven")
    assert len(response.raw_output_contents) == len(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(result.as_numpy(name), values, atol=1e-5)
    wanted = [triton.InferRequestedOutput("embedding"), triton.InferRequestedOutput("probabilities")]
    some = client.infer("digits", [image()], "1", wanted)
    assert [output.name for output in some.get_response().outputs] == ["embedding", "probabilities"]
    np.testing.assert_allclose(some.as_numpy("embedding"), expected["embedding"], atol=1e-5)


def test_sound_and_rows_are_tensors_too(client: triton.InferenceServerClient, models: Path) -> None:
    with EmbeddedEngine(models) as engine:
        for name in ("normal", "transfers"):
            (spec,) = engine.spec(name).inputs.values()
            rows = np.random.default_rng(4).uniform(0, 1, (3, *spec.item_shape)).astype(np.float32)
            tensor = triton.InferInput(spec.name, list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows)
            result = client.infer(name, [tensor], outputs=[triton.InferRequestedOutput("score")])
            score = engine.infer(InferRequest(name, {spec.name: rows}, ["score"]))["score"]
            np.testing.assert_allclose(result.as_numpy("score"), score, rtol=1e-4)


def test_the_classification_extension_names_labels(
    client: triton.InferenceServerClient, expected: dict[str, np.ndarray]
) -> None:
    wanted = triton.InferRequestedOutput("probabilities", class_count=2)
    classes = client.infer("digits", [image()], outputs=[wanted]).as_numpy("probabilities")
    assert classes.shape == (5, 2)
    for texts, row in zip(classes, expected["probabilities"], strict=True):
        for text, index in zip(texts, np.argsort(-row, kind="stable"), strict=False):
            value, place, label = text.decode().split(":")
            assert (place, label) == (str(index), str(index))
            assert float(value) == pytest.approx(row[index], abs=1e-5)


def test_calls_in_the_background_are_answered_and_can_be_cancelled(
    client: triton.InferenceServerClient, expected: dict[str, np.ndarray]
) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for _ in range(8):
        client.async_infer("digits", [image()], lambda result, error: answers.put((result, error)))
    for _ in range(8):
        result, error = answers.get(timeout=30)
        assert error is None
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], atol=1e-5)
    cancelled = client.async_infer("digits", [image()], lambda result, error: answers.put((result, error)))
    cancelled.cancel()
    answers.get(timeout=30)


def test_the_client_of_event_loops_calls_and_streams(served: Gateway, expected: dict[str, np.ndarray]) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(served.address) as client:
            results = await asyncio.gather(*(client.infer("digits", [image()]) for _ in range(8)))
            for result in results:
                np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], atol=1e-5)

            async def requests() -> Any:
                for number in range(4):
                    yield {"model_name": "digits", "inputs": [image()], "request_id": str(number)}

            seen = []
            async for result, error in client.stream_infer(requests()):
                assert error is None
                seen.append(result.get_response().id)
                np.testing.assert_allclose(result.as_numpy("embedding"), expected["embedding"], atol=1e-5)
            assert seen == ["0", "1", "2", "3"]

    asyncio.run(ask())


def test_a_stream_goes_on_after_an_error_and_says_which_response_is_the_last(
    client: triton.InferenceServerClient, expected: dict[str, np.ndarray]
) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number in range(40):
            client.async_stream_infer("digits", [image()], request_id=str(number), enable_empty_final_response=True)
        client.async_stream_infer("nobody", [image()], request_id="bad")
        client.async_stream_infer("digits", [image()], request_id="last")
        for number in range(40):
            result, error = answers.get(timeout=30)
            assert error is None
            response = result.get_response()
            assert (response.id, response.parameters["triton_final_response"].bool_param) == (str(number), True)
            np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], atol=1e-5)
        result, error = answers.get(timeout=30)
        assert (result, "nobody" in error.message()) == (None, True)
        assert answers.get(timeout=30)[0].get_response().id == "last"
    finally:
        client.stop_stream()


def test_large_requests_of_a_stream_are_answered_in_order(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    pixels = np.zeros((16, 32, 32, 1), np.uint8)
    requests = [np.full_like(pixels, number) for number in range(60)]  # together more than run at once
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number, each in enumerate(requests):
            client.async_stream_infer("digits", [image(each)], request_id=str(number))
        assert [answers.get(timeout=30)[0].get_response().id for _ in requests] == [str(number) for number in range(60)]
    finally:
        client.stop_stream()


def test_the_server_and_its_models_are_described(client: triton.InferenceServerClient, models: Path) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert (client.is_model_ready("digits"), client.is_model_ready("digits", "1")) == (True, True)
    assert (client.is_model_ready("digits", "2"), client.is_model_ready("nobody")) == (False, False)
    server = client.get_server_metadata()
    assert server.name == "avizor"
    assert {"classification", "statistics", "binary_tensor_data"} <= set(server.extensions)
    metadata = client.get_model_metadata("digits")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("digits", ["1"], "onnxruntime_onnx")
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [("image", "UINT8", [-1, 32, 32, 1])]
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs] == [
        ("probabilities", "FP32", [-1, 10]),
        ("embedding", "FP32", [-1, 84]),
        ("activations", "FP32", [-1, 16, 5, 5]),
    ]
    config = client.get_model_config("digits").config
    assert (config.name, config.max_batch_size, config.HasField("dynamic_batching")) == ("digits", 16, True)
    index = client.get_model_repository_index().models
    assert [(each.name, each.version, each.state) for each in index] == [
        (name, "1", "READY") for name in ("digits", "kinds", "normal", "transfers")
    ]


@pytest.mark.parametrize("ask", ["get_model_metadata", "get_model_config", "get_inference_statistics", "is_model_ready"])
def test_descriptions_are_refused_with_tritons_codes(client: Any, triton_address: str, ask: str) -> None:
    with triton.InferenceServerClient(triton_address) as theirs:
        for name, version in (("digits", "9"), ("digits", "one"), ("digits", "0"), ("nobody", ""), ("digits", "-1")):
            assert code(getattr(client, ask), name, version) == code(getattr(theirs, ask), name, version), (name, version)


def code(function: Any, *arguments: str) -> str:
    try:
        return str(function(*arguments)) if function.__name__ == "is_model_ready" else str(bool(function(*arguments)))
    except InferenceServerException as error:
        return str(error.status())


def test_statistics_count_what_every_rpc_had_run(client: triton.InferenceServerClient, stub: Stub) -> None:
    before = client.get_inference_statistics("digits").model_stats[0]
    client.infer("digits", [image()])
    client.infer("digits", [image()], outputs=[triton.InferRequestedOutput("probabilities")])
    stub.Classify(pb.ClassifyRequest(model="digits", items=[IMAGE] * 3))
    with pytest.raises(InferenceServerException):
        client.infer("digits", [image(PIXELS[:, :16])])
    after = client.get_inference_statistics("digits", "1").model_stats[0]
    assert after.inference_count - before.inference_count == 5 + 5 + 3
    assert after.execution_count - before.execution_count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 3
    assert after.inference_stats.queue.count - before.inference_stats.queue.count == 3
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    sizes = [{batch.batch_size: batch.compute_infer.count for batch in each.batch_stats} for each in (before, after)]
    assert sizes[1][5] - sizes[0].get(5, 0) == 2
    assert sizes[1][3] - sizes[0].get(3, 0) == 1
    assert after.last_inference > 1.6e12
    every = client.get_inference_statistics().model_stats
    assert [each.name for each in every] == ["digits", "kinds", "normal", "transfers"]


def test_what_is_not_served_is_unimplemented(client: triton.InferenceServerClient, served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        asked = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        served_here = {
            "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer", "ModelStreamInfer",
            "ModelConfig", "ModelStatistics", "RepositoryIndex",
        }  # fmt: skip
        for method in asked:
            if method.name not in served_here:
                call = channel.unary_unary(f"/inference.GRPCInferenceService/{method.name}")
                with pytest.raises(grpc.RpcError) as refused:
                    call(b"", timeout=30)
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, method.name
    with pytest.raises(InferenceServerException) as no_load:
        client.load_model("digits")
    assert str(no_load.value.status()) == "StatusCode.UNIMPLEMENTED"


def test_health_and_reflection_name_the_service(served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
        assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in database.get_services()
        file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        assert "ModelStreamInfer" in [method.name for service in file.service for method in service.method]


def test_calls_count_in_the_metrics_of_all(served: Gateway, client: triton.InferenceServerClient) -> None:
    def counted(code: str, model: str) -> float:
        return served.metrics().get(f'avizor_requests_total{{code="{code}",model="{model}",rpc="ModelInfer"}}', 0.0)

    before = counted("OK", "digits"), counted("INVALID_ARGUMENT", "digits"), counted("NOT_FOUND", "")
    client.infer("digits", [image()])
    for bad in ([image(PIXELS[:, :16])], "nobody"):
        with pytest.raises(InferenceServerException):
            client.infer("digits" if isinstance(bad, list) else bad, [image()] if isinstance(bad, str) else bad)
    served.wait_until_idle()
    assert (counted("OK", "digits"), counted("INVALID_ARGUMENT", "digits"), counted("NOT_FOUND", "")) == tuple(
        count + 1 for count in before
    )


def test_a_gateway_without_the_protocol_refuses_it(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--no-open-inference") as running:
        with triton.InferenceServerClient(running.address) as client, pytest.raises(InferenceServerException) as refused:
            client.infer("digits", [image()])
        assert str(refused.value.status()) == "StatusCode.UNIMPLEMENTED"
        with grpc.insecure_channel(running.address) as channel:
            assert "inference.GRPCInferenceService" not in ProtoReflectionDescriptorDatabase(channel).get_services()
