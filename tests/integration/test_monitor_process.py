"""Streams are bounded in number and memory, and end with a status when the engine or the gateway goes away."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from integration.gateway import IMAGE, Stub, gateway, refused
from integration.listeners import chunks, start
from support.sounds import tone
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor_client import Client, MonitorSettings, Unavailable, connection

SECOND = next(chunks(tone(1.0), 16_000))
CHUNK = pb.MonitorRequest(pcm=SECOND.pcm * 16)  # 256 KiB, 31 windows


class Talker:
    """A client that sends what it is told to, and keeps its side open."""

    def __init__(self, stub: Stub, first: pb.MonitorRequest) -> None:
        self._messages: queue.Queue[pb.MonitorRequest | None] = queue.Queue()
        self.send(first)
        self.call: Any = stub.Monitor(iter(self._messages.get, None), timeout=120)
        assert next(self.call).WhichOneof("message") == "started"

    def send(self, message: pb.MonitorRequest | None) -> None:
        self._messages.put(message)

    def ended(self) -> tuple[str, str]:
        """The status of a stream that fails."""
        with pytest.raises(grpc.RpcError) as caught:
            list(self.call)
        self.send(None)
        return refused(caught.value)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_client_that_does_not_read_has_to_stop_sending_and_costs_no_memory(models: Path) -> None:
    sent = []

    def endless() -> Iterator[pb.MonitorRequest]:
        yield start(classifier="kinds", top_k=3)
        for number in range(2_000):  # 500 MiB
            sent.append(number)
            yield CHUNK

    # Without this a client itself takes in some megabytes that nobody reads.
    small = [("grpc.http2.bdp_probe", 0)]
    with gateway(models, "--alpha", 0.05) as running, grpc.insecure_channel(running.address, small) as channel:
        process = psutil.Process(running.process.pid)
        call = running.stub(channel).Monitor(endless())
        assert next(call).WhichOneof("message") == "started"
        assert next(call).WhichOneof("message") == "window"
        idle = process.memory_info().rss
        stood_still = 0
        while stood_still < 20:  # nothing was sent for two seconds
            before = len(sent)
            time.sleep(0.1)
            stood_still = stood_still + 1 if len(sent) == before else 0
        assert len(sent) < 500
        assert process.memory_info().rss - idle < 40 << 20
        before = len(sent)
        windows = sum(1 for _, message in zip(range(31 * (before + 50)), call, strict=False) if message.HasField("window"))
        assert windows == 31 * (before + 50)  # none was lost
        assert len(sent) > before
        call.cancel()
        assert process.memory_info().rss - idle < 60 << 20
        assert eventually(lambda: running.metrics()["avizor_streams"] == 0)


def test_streams_have_a_limit_of_their_own_and_leave_their_place(models: Path) -> None:
    options = ("--alpha", 0.05, "--max-streams", 2, "--max-in-flight", 1)
    with gateway(models, *options) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        first, second = (Talker(stub, start(classifier="kinds")) for _ in range(2))
        assert running.metrics()["avizor_streams"] == 2
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Monitor(iter([start(classifier="kinds")])))
        assert refused(caught.value) == (
            "RESOURCE_EXHAUSTED",
            "2 streams are in progress, as many as this gateway accepts; try again",
        )
        assert stub.Classify(pb.ClassifyRequest(model="digits", items=[IMAGE])).items  # streams hold no place of calls
        first.call.cancel()
        first.send(None)
        assert eventually(lambda: running.metrics()["avizor_streams"] == 1)
        third = Talker(stub, start(classifier="kinds"))
        for talker in (second, third):
            talker.send(SECOND)
            assert next(talker.call).window.classes
            talker.send(None)
            assert [message.WhichOneof("message") for message in talker.call] == ["window", "ended"]
        assert running.metrics()['avizor_rejected_total{reason="streams"}'] == 1


def test_a_stream_that_says_nothing_for_longer_than_every_limit_goes_on(models: Path) -> None:
    limits = ("--connection-age-s", "--connection-idle-s", "--keepalive-s", "--receive-timeout-s", "--send-timeout-s")
    options = (part for limit in limits for part in (limit, 0.5))
    with gateway(models, "--alpha", 0.05, *options) as running, grpc.insecure_channel(running.address) as channel:
        silent = Talker(running.stub(channel), start(classifier="kinds"))
        for _ in range(2):
            time.sleep(2)
            silent.send(SECOND)
            assert next(silent.call).window.classes
        silent.send(None)
        assert [message.WhichOneof("message") for message in silent.call][-1] == "ended"


def test_idle_and_busy_streams_end_with_a_status_when_the_gateway_stops(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        idle, busy = (Talker(stub, start(classifier="kinds")) for _ in range(2))
        for _ in range(500):
            busy.send(CHUNK)
        found: list[tuple[str, str]] = []
        listening = [threading.Thread(target=lambda each=each: found.append(each.ended())) for each in (idle, busy)]
        for thread in listening:
            thread.start()
        assert running.stop() == 0
        for thread in listening:
            thread.join()
        assert found == [("UNAVAILABLE", "the gateway is shutting down; start the stream again")] * 2


def test_a_quiet_stream_ends_when_its_gateway_says_nothing_any_more_as_one_whose_machine_is_gone(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [(name, 3000 if name.endswith("_timeout_ms") else value) for name, value in connection._OPTIONS]  # not 10 s
    monkeypatch.setattr(connection, "_OPTIONS", options)
    quiet = threading.Event()

    def microphone() -> Iterator[bytes]:
        yield bytes(64_000)
        quiet.wait()  # as a pipe without sound

    with gateway(models, "--alpha", 0.05) as running, Client(running.address, timeout_s=600) as client:
        settings = MonitorSettings(sample_rate=16_000, detector="normal", source="a")
        with client.monitor(microphone(), settings) as stream:
            next(iter(stream))
            running.process.send_signal(signal.SIGSTOP)
            with pytest.raises(Unavailable, match="says nothing any more"):
                list(stream)
        quiet.set()


def test_a_stream_ends_with_a_status_when_triton_goes_away(models: Path, triton_install: TritonInstall) -> None:
    with contextlib.ExitStack() as stack:
        triton = stack.enter_context(TritonServer(triton_install, models))
        running = stack.enter_context(gateway(models, "--alpha", 0.05, "--engine", f"triton://{triton.grpc_url}"))
        channel = stack.enter_context(grpc.insecure_channel(running.address))
        talker = Talker(running.stub(channel), start(detector="normal", source="a"))
        talker.send(SECOND)
        assert next(talker.call).window.score > 0
        triton.kill()
        talker.send(SECOND)
        code, text = talker.ended()
        assert code == "UNAVAILABLE"
        assert "Triton" in text
        assert eventually(lambda: running.metrics()["avizor_streams"] == 0)
        assert running.metrics()['avizor_requests_total{code="UNAVAILABLE",model="normal",rpc="Monitor"}'] == 1
