"""The gateway process starts and stops cleanly, keeps its limits and checks tokens."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import grpc
import pytest
from google.rpc.status_pb2 import Status
from integration.gateway import AVIZOR, IMAGE, gateway, refused, wav
from support.sounds import tone
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput


def test_sigterm_lets_a_running_call_finish(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        stub.ListModels(pb.ListModelsRequest())
        items = [pb.Item(audio=wav(tone(10.0)))] * 100
        under_way = stub.Classify.future(pb.ClassifyRequest(model="kinds", items=items))
        deadline = time.monotonic() + 10
        while running.metrics()["avizor_in_flight_requests"] < 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert running.stop() == 0
        assert len(under_way.result().items) == 100
        with pytest.raises(grpc.RpcError):
            stub.ListModels(pb.ListModelsRequest(), timeout=2)


def test_a_full_gateway_turns_calls_away_and_says_when_to_come_back(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--max-in-flight", 1) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        items = [pb.Item(audio=wav(tone(10.0)))] * 60
        calls = [stub.Classify.future(pb.ClassifyRequest(model="kinds", items=items)) for _ in range(4)]
        codes = sorted(call.code().name for call in calls)
        assert codes == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
        turned_away = next(call for call in calls if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)
        status = Status.FromString(dict(turned_away.trailing_metadata())["grpc-status-details-bin"])
        assert status.details[0].type_url.endswith("google.rpc.RetryInfo")
        assert running.metrics()['avizor_rejected_total{reason="full"}'] == 3


def test_only_calls_with_a_token_are_let_in(models: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text('# who may call\n"Bearer sesame" "ali";\n"Bearer other-one" "baba";\n')
    with gateway(models, "--alpha", 0.05, "--tokens", tokens) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        for metadata in (None, [("authorization", "Bearer wrong")], [("authorization", "sesame")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListModels(pb.ListModelsRequest(), metadata=metadata)
            assert refused(caught.value)[0] == "UNAUTHENTICATED"
        for token in ("sesame", "other-one"):
            assert stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", f"Bearer {token}")]).models
        assert running.metrics()['avizor_rejected_total{reason="unauthenticated"}'] == 3
        health = warm_run([str(AVIZOR), "health", "--target", running.address])
        assert health.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "0.001"], "needs at least 999 normal items"),
        (["--engine", "http://x"], "or 'triton://HOST:8001' with"),
        (["--models", "/nowhere"], "is not a folder"),
        (["--tokens", "/nowhere"], "cannot be read"),
        (["--alpha", "3"], "--alpha"),
    ],
)
def test_a_gateway_that_cannot_work_does_not_start(models: Path, options: list[str], message: str) -> None:
    free = ["--port", "0", "--metrics-port", "0", "--http-port", "0"]
    command = [str(AVIZOR), "serve", "--models", str(models), *free, "--alpha", "0.05", *options]
    result = warm_run(command, timeout=60)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--port",
            "cannot listen on 127.0.0.1:{port}: address already in use; stop the other process or choose another --port",
        ),
        (
            "--metrics-port",
            "cannot serve metrics on 127.0.0.1:{port}: address already in use; stop the other process or choose",
        ),
        (
            "--http-port",
            "cannot serve HTTP on 127.0.0.1:{port}: address already in use; stop the other process or choose another",
        ),
    ],
)
def test_a_taken_port_is_reported(models: Path, option: str, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": "0", "--metrics-port": "0", "--http-port": "0", option: str(port)}
        options = [part for pair in ports.items() for part in pair]
        command = [str(AVIZOR), "serve", "--models", str(models), "--alpha", "0.05", *options]
        result = warm_run(command, timeout=60)
    assert result.returncode == 1
    assert message.format(port=port) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_gateway_says_so_when_triton_serves_something_else(models: Path, triton_address: str, tmp_path: Path) -> None:
    other = tmp_path / "models"
    image = ImageInput(height=32, width=32, channels=1)
    export_model(LeNet(), ExportRequest("digits", "classify", image, labels=list("0123456789")), other)
    with gateway(other, "--engine", f"triton://{triton_address}") as running, grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            running.stub(channel).Classify(pb.ClassifyRequest(model="digits", items=[IMAGE]))
        assert refused(caught.value)[0] == "FAILED_PRECONDITION"
        assert "serves another 'digits'" in refused(caught.value)[1]
