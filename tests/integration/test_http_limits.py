"""Limits count calls of HTTP and of gRPC together; what is refused for now is told when to try again."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from integration.gateway import IMAGE, Gateway, gateway, refused
from integration.http_client import Answer, ask
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb

FILES, INFER = "/v1/models/digits:classify", "/v2/models/digits/infer"
JSON = "/avizor.v1.InferenceService/Classify"

# Calls of `begun` that are open, by the gateway. One that has its answer may be counted by the gateway for a moment more.
OPEN: Counter[str] = Counter()


@contextlib.contextmanager
def begun(
    running: Gateway, path: str = FILES, *headers: str, length: int | None = 100, kind: str = "image/png"
) -> Iterator[socket.socket]:
    """A call that is admitted, and whose body does not come.

    length: that it says of its body; None for one in chunks. kind: of the body.
    """
    address = urlsplit(running.http_url)
    OPEN[running.http_url] += 1
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as one:
            body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
            lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", body, *headers]
            one.sendall("\r\n".join([*lines, "", ""]).encode())
            while running.metrics()["avizor_in_flight_requests"] != OPEN[running.http_url]:
                pass
            yield one
    finally:  # or the next test would wait for ever
        OPEN[running.http_url] -= 1


def later(answer: Answer, code: int) -> str:
    """What an answer says that asks to try again."""
    assert answer.code == code, answer.body
    if "error" in answer.json:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        return str(answer.json["error"])
    (info,) = answer.json["details"]
    assert info["@type"].endswith("google.rpc.RetryInfo")
    assert int(answer.headers["retry-after"]) == max(1, math.ceil(float(info["retryDelay"].removesuffix("s"))))
    return str(answer.json["message"])


def test_a_place_is_one_whatever_way_a_call_comes(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--max-in-flight", 1) as running, grpc.insecure_channel(running.address) as channel:
        stub = running.stub(channel)
        with begun(running):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListModels(pb.ListModelsRequest())
            assert refused(caught.value)[0] == "RESOURCE_EXHAUSTED"
            assert "as many as this gateway serves" in later(ask(running.http_url, "/v1/models"), 429)
            assert "as many as this gateway serves" in later(ask(running.http_url, "/v2/models/digits"), 429)
            assert ask(running.http_url, "/v2/health/ready").code == 200
        running.wait_until_idle()
        assert running.metrics()['avizor_rejected_total{reason="full"}'] == 3
        quit = threading.Event()
        held = channel.stream_unary("/avizor.v1.InferenceService/Classify").future(wait(quit), timeout=60)
        while not running.metrics()["avizor_in_flight_requests"]:
            pass
        assert "as many as this gateway serves" in later(ask(running.http_url, "/v1/models"), 429)
        held.cancel()
        quit.set()


def wait(quit: threading.Event) -> Iterator[bytes]:
    """Messages of a call that do not come."""
    quit.wait()
    yield from ()


def test_bytes_of_messages_are_of_both(models: Path) -> None:
    options = ["--max-message-mib", 1, "--max-request-mib-in-flight", 8, "--max-wait-s", 0.2]
    with gateway(models, "--alpha", 0.05, *options) as running, grpc.insecure_channel(running.address) as channel:
        # Each has room for the largest message, of 1 MiB and 1 over: nobody knows its size. A quarter is for others.
        with contextlib.ExitStack() as open_calls:
            for _ in range(3):
                open_calls.enter_context(begun(running, INFER, length=None))
            with pytest.raises(grpc.RpcError) as caught:
                running.stub(channel).ListModels(pb.ListModelsRequest())
            assert "--max-request-mib-in-flight" in refused(caught.value)[1]
            assert "--max-request-mib-in-flight" in later(ask(running.http_url, FILES, b"a", Content_Type="image/png"), 429)
            assert "--max-request-mib-in-flight" in later(ask(running.http_url, INFER, b"{}"), 429)
            assert ask(running.http_url, "/v1/models").code == 200  # it has no message
        running.wait_until_idle()
        assert running.metrics()['avizor_rejected_total{reason="bytes"}'] == 3
        assert running.stub(channel).ListModels(pb.ListModelsRequest()).models


def test_slow_uploads_hold_no_more_room_than_they_say_that_they_are_long(models: Path) -> None:
    options = ["--max-message-mib", 4, "--max-request-mib-in-flight", 14, "--max-wait-s", 0.2]
    binary = "Inference-Header-Content-Length: 200"
    with (
        gateway(models, "--alpha", 0.05, *options) as running,
        grpc.insecure_channel(running.address) as channel,
        contextlib.ExitStack() as uploads,
    ):
        for _ in range(3):
            uploads.enter_context(begun(running, length=3000))
            uploads.enter_context(begun(running, INFER, binary, length=3000))
            uploads.enter_context(begun(running, JSON, length=3000, kind="application/json"))
        assert running.stub(channel).ListModels(pb.ListModelsRequest()).models
        assert ask(running.http_url, FILES, IMAGE.image, Content_Type="image/png").code == 200
        with begun(running, length=2 << 20):  # a form of it takes twice as much
            assert running.stub(channel).ListModels(pb.ListModelsRequest()).models
            with begun(running, JSON, length=2 << 20, kind="application/json"):  # as much as the largest message takes
                assert "--max-request-mib-in-flight" in later(ask(running.http_url, INFER, bytes(1 << 20)), 429)
        too_large = ask(running.http_url, FILES, bytes(5 << 20), Content_Type="image/png")  # it waits for no room
        assert too_large.code == 413
        assert "--max-message-mib" in too_large.json["message"]


def test_a_body_that_does_not_come_before_the_clients_timeout_is_answered_for(models: Path) -> None:
    with gateway(models, "--alpha", 0.05) as running:
        for path in (FILES, INFER):
            with begun(running, path, "X-Request-Timeout: 0.3") as one:
                answer = b""
                while piece := one.recv(65_536):  # the connection ends: the body may still come
                    answer += piece
            assert answer.startswith(b"HTTP/1.1 504")
            assert b"there was no answer in the 0.3 s of x-request-timeout" in answer
        running.wait_until_idle()


def test_while_the_engine_is_away_clients_are_told_when_to_try_again(models: Path, triton_install: TritonInstall) -> None:
    with TritonServer(triton_install, models) as triton:
        triton.kill()
        with gateway(models, "--alpha", 0.05, "--engine", f"triton://{triton.grpc_url}") as running:
            url = running.http_url
            assert later(ask(url, FILES, IMAGE.image, Content_Type="image/png"), 503)
            assert later(ask(url, "/v2/models/digits/ready"), 503)
            assert [ask(url, f"/v2/health/{check}").code for check in ("live", "ready")] == [200, 503]
            triton.start()
            while ask(url, "/v2/health/ready").code != 200:
                pass
            assert ask(url, FILES, IMAGE.image, Content_Type="image/png").code == 200
            assert ask(url, "/v2/models/digits/ready").code == 200


def test_several_workers_are_one_gateway_over_http_too(models: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text('"Bearer right" "a";\n"Bearer slow" "b rate=0.01";\n')
    options = ["--workers", 2, "--max-in-flight", 2, "--tokens", tmp_path / "tokens"]
    right = "Authorization: Bearer right"
    with gateway(models, "--alpha", 0.05, *options) as running:
        url = running.http_url
        answers = [ask(url, "/v1/models", Authorization="Bearer right") for _ in range(20)]
        assert {each.code for each in answers} == {200}
        running.wait_until_idle()
        assert running.metrics()['avizor_requests_total{code="OK",model="",rpc="ListModels"}'] == 20
        assert sorted(ask(url, "/v1/models", Authorization="Bearer slow").code for _ in range(5)) == [200, 429, 429, 429, 429]
        with begun(running, FILES, right), begun(running, FILES, right):
            codes = {ask(url, "/v1/models", Authorization="Bearer right").code for _ in range(10)}
        assert codes == {429}
        assert running.stop() == 0
