"""The log of a gateway process: a line for each call, with the request id of its answer; nothing in it acts on a terminal."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.gateway import IMAGE, Gateway, Stub, gateway, normal, odd

from avizor.v1 import inference_pb2 as pb

TOKEN = "5e" * 16


@dataclass
class Logged:
    """A gateway whose log is read, and a stub that has a token."""

    running: Gateway
    log: Path
    stub: Stub

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def line_of(self, request_id: str) -> dict[str, Any]:
        """The line of one call, once it is written."""
        self.running.wait_until_idle()
        for _ in range(500):
            for line in self.lines():
                if line.get("request_id") == request_id and line["event"] == "call":
                    return line
            self.running.metrics()  # takes a while
        raise AssertionError(f"no line of {request_id}: {self.lines()}")


@pytest.fixture(scope="module")
def logged(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("log")
    (folder / "tokens").write_text(f'"Bearer {TOKEN}" "plant-3";\n')
    log = folder / "log"
    with (
        gateway(models, "--alpha", 0.05, "--tokens", folder / "tokens", log=log) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield Logged(running, log, running.stub(channel))


def metadata(request_id: str, **more: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {TOKEN}"), ("x-request-id", request_id), *more.items()]


def ids(call: Any) -> list[str]:
    return [value for name, value in [*call.initial_metadata(), *call.trailing_metadata()] if name == "x-request-id"]


def test_a_call_has_one_line_with_its_ids_its_caller_its_verdict_and_no_payload(logged: Logged) -> None:
    items = [pb.Item(audio=normal(), source="a"), pb.Item(audio=odd(), source="b\x1b[31m\n"), pb.Item(audio=b"no sound")]
    request_id, trace_id = uuid.uuid4().hex, uuid.uuid4().hex
    sent = metadata(request_id, traceparent=f"00-{trace_id}-{'b' * 16}-01")
    answer, call = logged.stub.DetectAnomaly.with_call(
        pb.DetectAnomalyRequest(model="normal", items=items, alpha=0.1), metadata=sent
    )
    assert ids(call) == [request_id]
    line = logged.line_of(request_id)
    assert line.pop("time").endswith("Z")
    assert 0 < line.pop("duration_s") < 60
    assert line == {
        "level": "info",
        "event": "call",
        "request_id": request_id,
        "rpc": "DetectAnomaly",
        "model": "normal",
        "code": "OK",
        "trace_id": trace_id,
        "token": "plant-3",
        "version": 1,
        "sources": ["a", "b\\x1b[31m\\n"],
        "items": 3,
        "failed_items": 1,
        "anomalies": sum(item.is_anomaly for item in answer.items),
    }
    assert line["anomalies"] == 1
    assert [each.get("event") for each in logged.lines()].count("call") == len(
        {each["request_id"] for each in logged.lines() if each["event"] == "call"}
    )
    assert TOKEN not in logged.log.read_text()


def test_a_call_that_fails_has_the_message_in_its_line_and_its_id_in_the_answer(logged: Logged) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        logged.stub.Classify(pb.ClassifyRequest(model="no\nthing", items=[IMAGE]), metadata=metadata("a b"))
    (made,) = ids(caught.value)
    assert made != "a b"
    line = logged.line_of(made)
    assert (line["code"], line["level"], line["model"]) == ("NOT_FOUND", "warning", "")
    assert "no\\nthing" in line["message"] or "'no\\\\nthing'" in line["message"]


@pytest.mark.parametrize(
    ("path", "token", "code"),
    [
        ("/avizor.v1.InferenceService/ListModels", "0" * 32, "UNAUTHENTICATED"),
        ("/avizor.v1.InferenceService/Nothing" + "x" * 500, TOKEN, "UNIMPLEMENTED"),
    ],
)
def test_a_call_that_is_turned_away_by_its_headers_has_a_line_too(logged: Logged, path: str, token: str, code: str) -> None:
    request_id = uuid.uuid4().hex
    with grpc.insecure_channel(logged.running.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", metadata=[("authorization", f"Bearer {token}"), ("x-request-id", request_id)])
    assert ids(caught.value) == [request_id]
    line = logged.line_of(request_id)
    assert (line["code"], line["rpc"], line["model"]) == (code, path[:100], "")
    assert token not in logged.log.read_text()


def test_a_stream_tells_its_id_at_its_start_and_has_a_line_at_its_end(logged: Logged) -> None:
    request_id = uuid.uuid4().hex

    def messages() -> Iterator[pb.MonitorRequest]:
        yield pb.MonitorRequest(start=pb.MonitorStart(classifier="kinds", source="pump", sample_rate=8000))
        yield pb.MonitorRequest(pcm=bytes(2 * 4096 * 3))

    call = logged.stub.Monitor(messages(), metadata=metadata(request_id))
    assert dict(call.initial_metadata())["x-request-id"] == request_id
    windows = sum(response.HasField("window") for response in call)
    line = logged.line_of(request_id)
    assert (line["rpc"], line["model"], line["sources"], line["items"]) == ("Monitor", "kinds", ["pump"], windows)
    assert windows > 0


def test_the_gateway_shows_itself_as_a_process_and_no_series_of_creation_times(logged: Logged) -> None:
    series = logged.running.metrics()
    assert series["process_resident_memory_bytes"] > 1e6
    assert series["process_open_fds"] > 0
    assert series["avizor_decoder_resident_memory_bytes"] > 2e6  # two processes
    assert series["avizor_log_lines_dropped_total"] == 0
    assert not [name for name in series if "_created" in name and "calibration_created" not in name]


def test_lines_of_the_last_calls_are_there_after_sigterm(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with gateway(models, "--alpha", 0.05, log=log) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        for _ in range(200):
            stub.ListModels(pb.ListModelsRequest())
        assert running.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines].count("call") == 200
    assert "stopping" in [line["event"] for line in lines]
