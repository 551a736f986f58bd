"""Connections of HTTP: clients that are slow, hostile or gone, and the end of the gateway."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from integration.gateway import IMAGE, Gateway, gateway
from integration.http_client import ask, ask_form

FILES = "/v1/models/digits:classify"


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Gateway]:
    limits = ["--receive-timeout-s", 0.5, "--connection-idle-s", 0.5, "--max-connections", 20, "--max-message-mib", 1]
    with gateway(models, "--alpha", 0.05, *limits) as one:
        yield one


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as one:
        yield one


def rest(one: socket.socket) -> bytes:
    """All that comes until the gateway ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := one.recv(65_536):
            received += piece
    return received


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET / HTTP/1.1\r\nHost:", f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode()],
)
def test_a_client_that_stops_in_the_middle_is_let_go(running: Gateway, begin: bytes) -> None:
    with connected(running.http_url) as one:
        one.sendall(begin)
        rest(one)  # it ends
    assert ask(running.http_url, "/v2/health/ready").code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Content-Length: -1\r\n",
        b"A: " + b"a" * 100_000 + b"\r\n",
        b"no header\r\n",
    ],
)
def test_a_request_whose_end_is_unclear_is_refused_and_its_connection_ends(running: Gateway, head: bytes) -> None:
    with connected(running.http_url) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\n".encode() + head + b"\r\nabc")
        answer = rest(one)
    assert not answer or answer.split(b" ")[1] in (b"400", b"501"), answer
    assert answer.count(b"HTTP/1.1") <= 1


def test_a_body_without_an_end_is_refused_at_the_limit(running: Gateway) -> None:
    piece = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    head = f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(running.http_url) as one:
        one.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                one.sendall(piece)
        answer = rest(one)
    assert not answer or b"413" in answer.split(b"\r\n")[0]
    running.wait_until_idle()


def test_when_the_gateway_stops_every_call_that_arrived_is_answered(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--stop-delay-s", 0.5) as one:
        codes: list[int] = []
        begun, stop = threading.Event(), threading.Event()

        def call() -> None:
            while not stop.is_set():
                try:
                    codes.append(ask_form(one.http_url, FILES, ("item", IMAGE.image)).code)
                except ConnectionRefusedError:
                    return
                begun.set()

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        assert begun.wait(30)
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(30) == 0
        stop.set()
        for caller in callers:
            caller.join()
        assert set(codes) == {200}
