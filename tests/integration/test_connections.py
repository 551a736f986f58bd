"""Clients that send half a message, say nothing, reset their calls or stay for long cost the others nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import h2.settings
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.gateway import gateway
from integration.hostile import CHECK, WATCH
from integration.listeners import start
from integration.load import REQUEST, Load
from integration.wire_client import CLASSIFY, WireClient, wire_client

RESETS = 20_000
CANCELS = 4_000


def test_calls_whose_message_is_not_finished_are_ended(models: Path) -> None:
    options = ("--alpha", 0.05, "--receive-timeout-s", 0.2, "--max-in-flight", 1)
    with gateway(models, *options) as running, wire_client(running.address) as client:
        for path in (CLASSIFY, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"):
            stream = client.begin(path)
            client.http.send_data(stream, b"\0" + (1000).to_bytes(4, "big") + b"half")  # of the 1000 bytes that it announces
            client.send()
            ended = client.trailers(stream)
            said = "the message was not complete after 0.2 s (the gateway's --receive-timeout-s); send it in one go, and less "
            said += "at once if the line is slow"
            assert (ended["grpc-status"], ended["grpc-message"]) == (str(grpc.StatusCode.INVALID_ARGUMENT.value[0]), said)
        with grpc.insecure_channel(running.address) as channel:  # the place is free again
            assert running.stub(channel).Classify(REQUEST).items


def test_silent_connections_are_closed(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--keepalive-s", 0.5) as running:
        host, _, port = running.address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=20) as mute,
            socket.create_connection((host, int(port)), timeout=20) as gone,
            grpc.insecure_channel(running.address) as channel,
        ):
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            next(watch)
            silent = WireClient(gone)  # its machine is gone, so to say: it answers no ping
            silent.begin("/grpc.health.v1.Health/Watch")
            silent.send()
            assert silent.closed()
            while mute.recv(1 << 16):  # it never spoke HTTP/2
                pass
            assert watch.is_active()  # gRPC answers pings


def test_connections_get_old_and_idle_and_no_call_or_stream_suffers(models: Path) -> None:
    options = ("--alpha", 0.05, "--connection-age-s", 0.5, "--connection-idle-s", 0.5)
    with (
        gateway(models, *options) as running,
        wire_client(running.address) as idle,
        grpc.insecure_channel(running.address) as one,
    ):
        watch = health_pb2_grpc.HealthStub(one).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        load = Load(running, 8)
        assert idle.closed()
        time.sleep(3)  # six times the age
        assert load.stop().keys() == {"OK"}
        assert watch.is_active()
        running.process.terminate()
        while next(watch).status != health_pb2.HealthCheckResponse.NOT_SERVING:
            pass


def test_resets_of_one_client_do_not_end_the_calls_of_others(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running, wire_client(running.address) as attacker:
        load = Load(running, 8)
        for number in range(RESETS):
            attacker.http.reset_stream(attacker.begin())
            if number % 100 == 0:
                attacker.send()
        attacker.send()
        assert load.stop().keys() == {"OK"}
        with grpc.insecure_channel(running.address) as channel:
            assert running.stub(channel).Classify(REQUEST).items
        running.wait_until_idle()


def test_a_client_that_does_not_read_loses_its_connection_and_others_are_served(models: Path) -> None:
    options = ("--alpha", 0.05, "--send-timeout-s", 0.5, "--max-in-flight", 4, "--max-streams", 1)
    with (
        gateway(models, *options) as running,
        wire_client(running.address) as unary,
        wire_client(running.address) as streaming,
        grpc.insecure_channel(running.address) as channel,
    ):
        for client in (unary, streaming):
            client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})  # it reads nothing
        for _ in range(4):
            unary.request(CLASSIFY, REQUEST.SerializeToString())
        first = start(classifier="kinds")
        streaming.request("/avizor.v1.InferenceService/Monitor", first.SerializeToString())
        while running.metrics()["avizor_in_flight_requests"] < 4 or not running.metrics()["avizor_streams"]:
            time.sleep(0.01)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        assert unary.closed()
        assert streaming.closed()
        running.wait_until_idle()
        assert not running.metrics()["avizor_streams"]
        for _ in range(5):
            assert running.stub(channel).Classify(REQUEST).items
        assert watch.is_active()  # which waits too, but not for its client


def test_health_checks_that_are_not_read_hold_their_places_until_their_connection_is_ended(models: Path) -> None:
    with (
        gateway(models, "--alpha", 0.05, "--send-timeout-s", 5, "--max-connections", 4) as running,
        wire_client(running.address) as client,
        grpc.insecure_channel(running.address) as channel,
    ):
        client.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})  # it reads nothing
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            check_until_refused(stub, client)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.closed()
        assert served_within(5, lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=5))


def test_after_thousands_of_cancels_others_are_served_at_once_and_the_client_itself_soon(models: Path) -> None:
    own = [("grpc.use_local_subchannel_pool", 1)]
    with (
        gateway(models, "--alpha", 0.05) as running,
        grpc.insecure_channel(running.address, own) as cancelling,
        grpc.insecure_channel(running.address, own) as other,
    ):
        assert running.stub(other).Classify(REQUEST).items
        asking = running.stub(cancelling)
        for _ in range(CANCELS):
            asking.Classify.future(REQUEST).cancel()
        assert running.stub(other).Classify(REQUEST, timeout=5).items
        with grpc.insecure_channel(running.address, own) as new:
            assert running.stub(new).Classify(REQUEST, timeout=5).items
        assert served_within(20, lambda: asking.Classify(REQUEST, timeout=5))
        running.wait_until_idle()


def check_until_refused(stub: health_pb2_grpc.HealthStub, unread: WireClient) -> None:
    """Check for some time, between calls of the other client: one that arrives while a check has its place gets none."""
    until = time.monotonic() + 4
    while time.monotonic() < until:
        for path in (CHECK, WATCH):
            unread.request(path, b"")
        stub.Check(health_pb2.HealthCheckRequest(), timeout=5)


def served_within(seconds: float, call: Callable[[], object]) -> bool:
    """Return whether a call that is tried again and again is answered in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            call()
        except grpc.RpcError:
            time.sleep(0.05)
        else:
            return True
    return False
