"""A client that begins many large messages, and does not send them, leaves room for those of others."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from integration.gateway import IMAGE, Gateway, gateway

from avizor.v1 import inference_pb2 as pb

CALLS = 100
OPTIONS = ["--alpha", 0.05, "--receive-timeout-s", 60, "--max-wait-s", 1]
TOKENS = '"Bearer good" "good";\n"Bearer hostile" "hostile";\n'


@contextlib.contextmanager
def from_another_host(running: Gateway) -> Iterator[None]:
    """Calls of HTTP from 127.0.0.2, each of which says that its body is as large as it may be. A refused one comes again."""
    address, quit = urlsplit(running.http_url), threading.Event()
    lines = ["POST /v2/models/digits/infer HTTP/1.1", "Host: localhost", f"Content-Length: {64 << 20}"]

    def call() -> None:
        while not quit.is_set():
            where = (address.hostname or "", address.port or 0)
            with socket.create_connection(where, timeout=1, source_address=("127.0.0.2", 0)) as one:
                one.sendall("\r\n".join([*lines, "", ""]).encode())
                while not quit.is_set():
                    with contextlib.suppress(TimeoutError):
                        one.recv(1000)
                        break
                quit.wait(0.1)

    threads = [threading.Thread(target=call) for _ in range(CALLS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        quit.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def with_another_token(running: Gateway) -> Iterator[None]:
    """Calls of gRPC over one connection, whose message does not come. A refused one comes again."""
    quit, metadata = threading.Event(), [("authorization", "Bearer hostile")]

    def nothing() -> Iterator[bytes]:
        quit.wait()
        yield from ()

    with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_unary("/avizor.v1.InferenceService/Classify")

        def again(_ended: object = None) -> None:
            if not quit.wait(0.01):
                with contextlib.suppress(ValueError):  # the channel is closed
                    call.future(nothing(), metadata=metadata).add_done_callback(again)

        for _ in range(CALLS):
            again()
        yield
        quit.set()


@pytest.mark.parametrize("hostile", [from_another_host, with_another_token])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_that_holds_all_the_room_it_gets_does_not_keep_others_from_theirs(
    hostile: Callable[[Gateway], AbstractContextManager[None]], workers: int, models: Path, tmp_path: Path
) -> None:
    options, metadata = [*OPTIONS, "--workers", workers], [("authorization", "Bearer good")]
    (tmp_path / "tokens").write_text(TOKENS)
    if hostile is with_another_token:
        options += ["--tokens", tmp_path / "tokens"]
    with (
        gateway(models, *options) as running,
        grpc.insecure_channel(running.address) as channel,
        hostile(running),
    ):
        deadline = time.monotonic() + 60
        while not running.metrics().get('avizor_rejected_total{reason="bytes"}', 0):
            assert time.monotonic() < deadline, "the room was not used up"
            time.sleep(0.1)
        for _ in range(20):
            answer = running.stub(channel).Classify(
                pb.ClassifyRequest(model="digits", items=[IMAGE]), timeout=5, metadata=metadata
            )
            assert answer.items[0].classes
