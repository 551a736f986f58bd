"""engines/triton.py: cancelled, wrong and failed requests, and outages, with a server that does what the test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import DeadlineExceeded, EngineUnavailable, InvalidInput


class SlowServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Knows one model, and answers a request for it only when the test says so."""

    def __init__(self) -> None:
        self.arrived, self.cancelled, self.fail = threading.Event(), threading.Event(), threading.Event()
        self.described = 0

    def ServerReady(  # noqa: N802 - gRPC's name
        self, request: service_pb2.ServerReadyRequest, context: grpc.ServicerContext
    ) -> service_pb2.ServerReadyResponse:
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelMetadata(  # noqa: N802
        self, request: service_pb2.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> service_pb2.ModelMetadataResponse:
        self.described += 1
        return service_pb2.ModelMetadataResponse(name="slow", versions=["3"])

    def ModelConfig(  # noqa: N802
        self, request: service_pb2.ModelConfigRequest, context: grpc.ServicerContext
    ) -> service_pb2.ModelConfigResponse:
        tensor = {"data_type": model_config_pb2.TYPE_FP32, "dims": [1]}
        config = model_config_pb2.ModelConfig(
            name="slow",
            max_batch_size=4,
            input=[model_config_pb2.ModelInput(name="x", **tensor)],
            output=[model_config_pb2.ModelOutput(name="y", **tensor)],
        )
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        context.add_callback(self.cancelled.set)
        self.arrived.set()
        self.fail.wait(20)
        context.abort(grpc.StatusCode.UNAVAILABLE, "the server goes away")


def started(servicer: SlowServer, port: int = 0) -> tuple[grpc.Server, int]:
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


@pytest.fixture
def slow() -> Iterator[tuple[SlowServer, TritonEngine]]:
    servicer = SlowServer()
    server, port = started(servicer)
    with TritonEngine(f"127.0.0.1:{port}") as engine:
        yield servicer, engine
    servicer.fail.set()
    server.stop(None).wait()


REQUEST = InferRequest("slow", {"x": np.zeros((1, 1), np.float32)}, ["y"], version=3)


def test_a_future_that_is_cancelled_cancels_the_request_at_the_server(slow: tuple[SlowServer, TritonEngine]) -> None:
    server, engine = slow
    future = engine.submit(REQUEST)
    assert server.arrived.wait(20)
    assert future.cancel()
    assert server.cancelled.wait(20)


def test_a_caller_on_an_event_loop_that_is_cancelled_cancels_the_request_at_the_server(
    slow: tuple[SlowServer, TritonEngine],
) -> None:
    server, engine = slow

    async def cancelled() -> None:
        asking = asyncio.create_task(engine.infer_on_loop(REQUEST))
        assert await asyncio.to_thread(server.arrived.wait, 20)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(server.cancelled.wait, 20)

    asyncio.run(cancelled())


def test_a_request_that_is_wrong_is_not_sent_from_an_event_loop_either(slow: tuple[SlowServer, TritonEngine]) -> None:
    server, engine = slow
    wrong = replace(REQUEST, inputs={"x": np.zeros((1, 2), np.float32)})
    with pytest.raises(InvalidInput, match="shape"):
        asyncio.run(engine.infer_on_loop(wrong))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(engine.infer_on_loop(replace(REQUEST, timeout_s=0)))
    assert not server.arrived.is_set()


def test_after_an_outage_it_is_ready_when_calls_from_an_event_loop_have_a_connection_too() -> None:
    servicer = SlowServer()
    servicer.fail.set()
    server, port = started(servicer)

    async def outage(engine: TritonEngine) -> None:
        nonlocal server
        with pytest.raises(EngineUnavailable):
            await engine.infer_on_loop(REQUEST)
        assert await asyncio.to_thread(engine.ready)
        await asyncio.to_thread(server.stop(None).wait)
        assert not await asyncio.to_thread(engine.ready)
        server, _ = started(servicer, port)
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(engine.ready):
                await asyncio.sleep(0.05)
        assert engine._calls
        assert engine._calls.is_connected()

    with TritonEngine(f"127.0.0.1:{port}") as engine:
        asyncio.run(outage(engine))
    server.stop(None).wait()


def test_after_a_failure_only_the_newest_version_is_asked_for_again(slow: tuple[SlowServer, TritonEngine]) -> None:
    server, engine = slow
    assert (engine.spec("slow").version, engine.spec("slow", 3).version, server.described) == (3, 3, 1)
    server.fail.set()
    with pytest.raises(EngineUnavailable):
        engine.infer(REQUEST)
    engine.spec("slow", 3)
    assert server.described == 1  # to submit to a known version does not wait for the server
    engine.spec("slow")
    assert server.described == 2
