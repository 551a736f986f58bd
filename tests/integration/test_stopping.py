"""SIGTERM: the gateway says that it is not ready, answers every call that has arrived, ends streams, and exits with 0."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.far_network import far_network
from integration.gateway import gateway
from integration.load import REQUEST, TIMEOUT_S, Load

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_no_call_is_cancelled_when_the_gateway_stops_under_load(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running:
        load = Load(running, 64, until="UNAVAILABLE")
        while load.ended["OK"] < 300:
            time.sleep(0.01)
        assert running.stop() == 0
        ended = load.wait()
    assert ended.keys() == {"OK", "UNAVAILABLE"}, ended
    assert ended["UNAVAILABLE"] == 64  # one for each caller: what it sent when nobody listened any more


def test_a_caller_far_away_gets_its_answers_until_it_is_told_to_go_elsewhere(models: Path) -> None:
    """What it sends when it has an answer is on its way for longer than the pause in which the gateway stops."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with (
        gateway(models, "--alpha", 0.05) as running,
        far_network(int(running.address.rpartition(":")[2]), seconds=0.06) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel,
    ):
        stub = running.stub(channel)
        assert stub.Classify(REQUEST, timeout=TIMEOUT_S).items
        for _ in range(2):
            call = stub.Classify.future(REQUEST, timeout=TIMEOUT_S)
            time.sleep(0.08)  # its answer is on the way back
            running.process.terminate()  # the second time it changes nothing
            assert call.result().items
        assert stub.Classify(REQUEST, timeout=TIMEOUT_S).items
        assert running.process.wait(timeout=30) == 0


def test_callers_far_away_are_not_cancelled(models: Path) -> None:
    with (
        gateway(models, "--alpha", 0.05) as running,
        far_network(int(running.address.rpartition(":")[2]), seconds=0.06) as port,
    ):
        load = Load(replace(running, address=f"127.0.0.1:{port}"), 4, until="UNAVAILABLE")
        while load.ended["OK"] < 40:
            time.sleep(0.01)
        assert running.stop() == 0
        ended = load.wait()
    assert ended.keys() == {"OK", "UNAVAILABLE"}, ended


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
    return next(int(answer.status) for answer in watch if answer.status == SERVING)


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
