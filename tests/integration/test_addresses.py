"""The gateway listens on IPv4 and IPv6 addresses in either spelling, and clients reach it without a proxy."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import grpc
import pytest
from integration.gateway import AVIZOR, gateway
from integration.http_client import ask
from integration.jobs import batch
from support.sounds import tone, write_wav
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_export.live_triton.address import check_server
from avizor_inference.addresses import bare_host, with_port
from avizor_inference.engines.triton import TritonEngine

# Nothing listens there: what goes through it fails.
DEAD_PROXY = "http://127.0.0.1:9"


def health(target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(AVIZOR), "health", "--target", target]
    return warm_run(command, timeout=60, env=os.environ | environment)


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("::", "[::]"), ("127.0.0.1", "127.0.0.1")])
def test_the_gateway_listens_on_either_spelling_of_an_address(models: Path, host: str, shown: str) -> None:
    anyone = ["--allow-anonymous"] if host == "::" else []  # other machines reach it
    with gateway(models, "--alpha", 0.05, "--host", host, *anyone) as running:
        assert re.fullmatch(re.escape(shown) + r":\d+", running.address)
        assert running.metrics_url.startswith(f"http://{shown}:")
        port = running.address.rpartition(":")[2]
        for target in {f"{shown}:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"} if shown == "[::]" else {running.address}:
            answer = health(target)
            assert (answer.returncode, answer.stdout) == (0, "SERVING\n"), answer.stderr
        assert "avizor_engine_up" in str(running.metrics())
        assert running.http_url.startswith(f"http://{shown}:")
        assert ask(running.http_url, "/v1/models").code == 200


def test_brackets_are_put_where_they_belong() -> None:
    assert [bare_host(host) for host in ("::1", "[::1]", "::", "localhost")] == ["::1", "::1", "::", "localhost"]
    assert with_port("fe80::1", 5) == "[fe80::1]:5"
    assert with_port("0.0.0.0", 5) == "0.0.0.0:5"


def test_health_says_how_to_go_on_where_nobody_listens() -> None:
    answer = health("127.0.0.1:9")
    assert answer.returncode == 1
    assert answer.stderr.endswith("; see whether a gateway listens at this address, and whether it wants TLS\n"), answer.stderr


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_health_asks_the_gateway_and_not_a_proxy(models: Path, variable: str) -> None:
    with gateway(models, "--alpha", 0.05) as running:
        answer = health(running.address, **{variable: DEAD_PROXY})
    assert (answer.returncode, answer.stdout) == (0, "SERVING\n"), answer.stderr


def test_triton_is_asked_without_a_proxy(
    triton_address: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", DEAD_PROXY)
    with grpc.insecure_channel(triton_address) as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=2)  # the proxy would be asked
    with TritonEngine(triton_address) as engine:
        assert engine.ready(timeout_s=10)
        assert engine.spec("kinds").name == "kinds"
    check_server(triton_address)
    write_wav(tmp_path / "data" / "a.wav", tone(1.0))
    result = batch(tmp_path / "data", models, tmp_path / "out", "--engine", f"triton://{triton_address}", "--workers", "1")
    assert result.returncode == 0, result.stderr


def test_a_gateway_listens_on_a_unix_socket_and_replaces_one_that_was_left(models: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/gateway.sock"
    for _ in range(2):  # a gateway that is killed leaves its socket
        with gateway(models, "--alpha", 0.05, "--host", address) as running, grpc.insecure_channel(address) as channel:
            assert running.address == address
            assert running.metrics_url.startswith("http://127.0.0.1:")
            assert running.stub(channel).ListModels(pb.ListModelsRequest()).models
            assert health(address).stdout == "SERVING\n"
            taken = serve(models, address)
            assert (taken.returncode, "another process listens there; stop it, or choose another path" in taken.stderr) == (
                1,
                True,
            )
            assert health(address).stdout == "SERVING\n"
    with gateway(models, "--alpha", 0.05, "--host", address) as running:
        assert running.stop() == 0
    assert not (tmp_path / "gateway.sock").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x" * 120, "bytes, and a socket's at most 107; choose a shorter path"),
        ("nowhere/gateway.sock", "no such file or directory; choose a path in a folder that exists and may be written to"),
        ("file", "a file that is not a socket has this name; choose another path"),
    ],
)
def test_a_unix_socket_that_cannot_be_says_why(models: Path, tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "file").touch()
    refused = serve(models, f"unix:{tmp_path}/{path}")
    assert refused.returncode == 1
    assert f"cannot listen on unix:{tmp_path}/{path}: " in refused.stderr
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (tmp_path / "file").is_file()


def serve(models: Path, host: str) -> subprocess.CompletedProcess[str]:
    free = ["--metrics-port", "0", "--http-port", "0"]
    command = [AVIZOR, "serve", "--models", models, "--alpha", "0.05", "--host", host, *free]
    return warm_run([str(part) for part in command], timeout=60)


def test_metrics_may_have_an_address_of_their_own(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--host", "::1", "--metrics-host", "127.0.0.1") as running:
        assert running.address.startswith("[::1]:")
        assert running.metrics_url.startswith("http://127.0.0.1:")
        assert running.metrics()
