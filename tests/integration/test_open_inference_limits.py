"""Streams of the Open Inference Protocol are bounded as those of Monitor are, and end when the gateway stops."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.gateway import gateway
from integration.open_inference_cases import infer_request
from tritonclient.grpc import service_pb2_grpc


class Requests:
    """The requests of one stream, sent when the test says so."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def send(self, request: Any) -> None:
        self._queue.put(request)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._queue.get, None)


def test_streams_are_bounded_and_end_with_the_gateway(models: Path) -> None:
    with (
        gateway(models, "--alpha", 0.05, "--max-streams", 1, "--max-message-mib", 1) as running,
        grpc.insecure_channel(running.address, [("grpc.enable_http_proxy", 0)]) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        requests = Requests()
        responses = stub.ModelStreamInfer(iter(requests), timeout=60)
        requests.send(infer_request())
        assert not next(responses).error_message
        with pytest.raises(grpc.RpcError) as second:
            next(stub.ModelStreamInfer(iter([infer_request()]), timeout=30))
        assert second.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        requests.send(infer_request(raw=(bytes(3 << 19),)))  # more than one message may have, and less than ends the stream
        assert "--max-message-mib" in next(responses).error_message
        requests.send(infer_request())
        assert not next(responses).error_message
        assert running.metrics()["avizor_streams"] == 1
        running.process.terminate()
        with pytest.raises(grpc.RpcError) as ended:
            next(responses)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        requests.end()
        assert running.process.wait(timeout=30) == 0


def test_a_stream_that_its_client_leaves_gives_its_place_back(models: Path) -> None:
    with (
        gateway(models, "--alpha", 0.05, "--max-streams", 1) as running,
        grpc.insecure_channel(running.address, [("grpc.enable_http_proxy", 0)]) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(3):
            requests = Requests()
            responses = stub.ModelStreamInfer(iter(requests), timeout=60)
            for _ in range(20):
                requests.send(infer_request())
            assert not next(responses).error_message
            responses.cancel()
            requests.end()
            running.wait_until_idle()
            deadline = time.monotonic() + 30
            while running.metrics()["avizor_streams"]:
                assert time.monotonic() < deadline, "the stream has kept its place"
                time.sleep(0.02)
        rows = [value for series, value in running.metrics().items() if series.startswith("avizor_rows_in_progress")]
        assert rows == [0]
