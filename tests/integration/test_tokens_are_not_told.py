"""No token is in what a gateway says, whoever sends it and however: not in its log at any level, its metrics or its errors."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import grpc
import pytest
from integration.gateway import Gateway, gateway
from integration.http_client import ask, raw

from avizor.v1 import inference_pb2 as pb

GOOD, WRONG, NEW = "5e" * 16, "6f" * 16, "7a" * 16
METHODS = (
    "/avizor.v1.InferenceService/ListModels",
    "/avizor.v1.InferenceService/None",
    "/inference.GRPCInferenceService/ServerLive",
)


def test_no_token_is_in_log_metrics_or_errors(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    monkeypatch.setenv("GRPC_VERBOSITY", "debug")
    monkeypatch.setenv("GRPC_TRACE", "http,api,call,channel,server_channel")
    tokens, log = tmp_path / "tokens", tmp_path / "log"
    tokens.write_text(f'"Bearer {GOOD}" "plant";\n')
    with gateway(models, "--alpha", 0.05, "--tokens", tokens, "--log-level", "debug", log=log) as running:
        told = [*over_grpc(running), *over_http(running)]
        tokens.write_text(f'"Bearer {GOOD}" "plant";\n"Bearer {NEW}" "a name";\n')
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while "line 2: not of the form" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        told.append(str(running.metrics()))
        assert running.stop() == 0
    told.append(log.read_text())
    assert any("UNAUTHENTICATED" in each for each in told)
    assert '"token":"plant"' in told[-1]
    assert not [token for token in (GOOD, WRONG, NEW) for each in told if token in each]


def over_grpc(running: Gateway) -> list[str]:
    """What calls of all kinds are told."""
    told = []
    with grpc.insecure_channel(running.address) as channel:
        for method in METHODS:
            for values in ([f"Bearer {GOOD}"], [f"Bearer {WRONG}"], [GOOD], [f"Basic {GOOD}"], [f"Bearer {GOOD}"] * 2):
                metadata = [("authorization", value) for value in values]
                try:
                    answer, call = channel.unary_unary(method).with_call(
                        pb.ListModelsRequest().SerializeToString(), metadata=metadata
                    )
                    told.append(f"{answer} {call.initial_metadata()} {call.trailing_metadata()}")
                except grpc.RpcError as error:
                    told.append(f"{error.code()} {error.details()} {error.initial_metadata()} {error.trailing_metadata()}")
    return told


def over_http(running: Gateway) -> list[str]:
    """What requests of all kinds are told."""
    told = []
    for path in ("/v1/models", "/v1/none", "/v2", "/v2/models/none/infer"):
        for value in (f"Bearer {GOOD}", f"Bearer {WRONG}", f"bearer {GOOD}", GOOD, f"Basic {GOOD}", f"Bearer {GOOD} {WRONG}"):
            answer = ask(running.http_url, path, authorization=value)
            told.append(f"{answer.headers} {answer.body!r}")
    for broken in (
        f"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {GOOD}\r\n bad\x00header\r\n\r\n",
        f"Bearer {GOOD}\r\n\r\n",
    ):
        with contextlib.suppress(ConnectionError):
            told.append(repr(raw(running.http_url, broken.encode())))
    return told
