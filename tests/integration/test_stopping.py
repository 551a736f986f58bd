"""SIGTERM: the gateway says that it is not ready, answers every call that has arrived, ends streams, and exits with 0."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.gateway import Gateway, gateway

from avizor.v1 import inference_pb2 as pb

ROWS = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), np.uint8)
REQUEST = pb.ClassifyRequest(
    model="digits", items=[pb.Item(tensor=pb.Tensor(shape=ROWS.shape[1:], dtype="uint8", data=ROWS.tobytes()))]
)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Load:
    """Callers that each send the next call when the last one is answered, until the gateway is gone."""

    def __init__(self, running: Gateway, callers: int) -> None:
        self.ended: Counter[str] = Counter()
        self._running, self._pool, self._quit = running, ThreadPoolExecutor(callers), threading.Event()
        self._callers = [self._pool.submit(self._call) for _ in range(callers)]

    def _call(self) -> None:
        with grpc.insecure_channel(self._running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = self._running.stub(channel)
            while not self._quit.is_set():
                try:
                    stub.Classify(REQUEST, timeout=30)
                    self.ended["OK"] += 1
                except grpc.RpcError as error:
                    self.ended[error.code().name] += 1
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        return

    def wait(self) -> Counter[str]:
        for caller in self._callers:
            caller.result()
        return self.ended


def test_no_call_is_cancelled_when_the_gateway_stops_under_load(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running:
        load = Load(running, 64)
        while load.ended["OK"] < 300:
            time.sleep(0.01)
        assert running.stop() == 0
        ended = load.wait()
    assert ended.keys() == {"OK", "UNAVAILABLE"}, ended
    assert ended["UNAVAILABLE"] == 64  # one for each caller: what it sent when nobody listened any more


def test_health_says_first_that_the_gateway_stops_and_watches_end(models: Path) -> None:
    options = ("--alpha", 0.05, "--stop-delay-s", 1, "--grace-s", 60)
    with gateway(models, *options) as running, grpc.insecure_channel(running.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        watches.pop().cancel()  # the others hear of changes all the same
        assert [serving(watch) for watch in watches] == [SERVING] * 2
        running.process.terminate()
        assert [next(watch).status for watch in watches] == [NOT_SERVING] * 2
        assert health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
        assert running.stub(channel).Classify(REQUEST).items  # a load balancer may not have heard yet
        for watch in watches:
            with pytest.raises(grpc.RpcError) as caught:
                next(watch)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "the gateway is shutting down; watch again"
        assert running.process.wait(timeout=30) == 0  # and not after the grace of a minute


def serving(watch: Iterator[health_pb2.HealthCheckResponse]) -> int:
    """The first status after the gateway has looked for its engine."""
    return next(answer.status for answer in watch if answer.status == SERVING)


def test_health_knows_its_services(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert serving(health.Watch(health_pb2.HealthCheckRequest(service="avizor.v1.InferenceService"))) == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="other"))
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        unknown.cancel()
