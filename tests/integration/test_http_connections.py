"""Connections of HTTP: clients that are slow, hostile or gone, and the end of the gateway."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from integration.gateway import IMAGE, Gateway, gateway, wav
from integration.http_client import ask, ask_form, form
from support.sounds import tone

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


@pytest.mark.parametrize("path", [FILES, "/nothing", "/v2/models/digits/infer"])
@pytest.mark.parametrize("end", ["", "Connection: close\r\n"])
def test_a_client_that_sends_too_much_reads_why_it_was_refused(running: Gateway, path: str, end: str) -> None:
    """It sends all before it reads, as most do. If its bytes met a closed connection, its system would drop the answer."""
    body = bytes(8 << 20)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{end}Content-Length: {len(body)}\r\n\r\n"
    with connected(running.http_url) as one:
        one.sendall(head.encode() + body)
        answer = one.recv(65_536)
    assert answer.split(b" ")[1] == (b"404" if path == "/nothing" else b"413")


def test_requests_that_come_at_once_are_answered_in_their_order(running: Gateway) -> None:
    paths = ["/v2/health/live", "/v1/models/digits", "/nothing", "/v1/models", "/v2"] * 20
    with connected(running.http_url) as one:
        one.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths))
        codes: list[bytes] = []
        file = one.makefile("rb")
        for _ in paths:
            codes.append(file.readline().split(b" ")[1])
            length = 0
            while line := file.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            file.read(length)
    assert codes == [b"200", b"200", b"404", b"200", b"200"] * 20


def test_a_client_that_sends_no_more_reads_all_its_answers(running: Gateway) -> None:
    ask_models = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    picture = IMAGE.image
    head = f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}\r\n\r\n"
    for requests in (1, 1, 1, 30):
        with connected(running.http_url) as one:
            one.sendall(ask_models * (requests - 1) + head.encode() + picture)
            one.shutdown(socket.SHUT_WR)
            answers = rest(one)  # the connection ends
        assert answers.count(b"HTTP/1.1 200 OK") == requests
        assert answers.count(b'"items": [') == 1


def test_a_body_that_is_cut_off_by_the_end_of_its_client_has_no_answer(running: Gateway) -> None:
    with connected(running.http_url) as one:
        head = f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
        one.sendall(head.encode() + b"abc")
        one.shutdown(socket.SHUT_WR)
        assert rest(one) == b""


def test_a_client_that_waits_for_leave_to_send_gets_it_or_the_refusal(running: Gateway) -> None:
    def begin(length: int) -> bytes:
        lines = [f"POST {FILES} HTTP/1.1", "Host: localhost", "Content-Type: image/png", "Expect: 100-continue"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()

    with connected(running.http_url) as one:
        one.sendall(begin(len(IMAGE.image)))
        assert one.recv(65_536).startswith(b"HTTP/1.1 100")
        one.sendall(IMAGE.image)
        assert one.recv(65_536).startswith(b"HTTP/1.1 200")
    with connected(running.http_url) as one:
        one.sendall(begin(8 << 20))
        assert rest(one).startswith(b"HTTP/1.1 413")  # and nothing was sent


def test_connections_over_the_limit_are_closed_and_silent_ones_make_room(running: Gateway) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(running.http_url)) for _ in range(20)]
        for each in held:
            each.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert each.recv(65_536).startswith(b"HTTP/1.1 200")
        with connected(running.http_url) as over:
            over.settimeout(30)
            assert rest(over) == b""
        for each in held:
            assert rest(each) == b""  # --connection-idle-s has passed
    assert ask(running.http_url, "/v2/health/live").code == 200


def test_a_client_that_does_not_read_its_answer_is_let_go(models: Path) -> None:
    body, kind = form(*[("item", wav(tone(10.0)))] * 120)
    head = f"POST /v1/models/normal:reconstruct HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with gateway(models, "--alpha", 0.05, "--send-timeout-s", 0.5, "--max-in-flight", 1) as one, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = urlsplit(one.http_url)
        slow.connect((address.hostname, address.port))
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        one.wait_until_idle()  # its place is free again
        assert ask(one.http_url, "/v1/models").code == 200
        answer = rest(slow)
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(answer) < int(re.findall(rb"content-length: (\d+)", answer)[0])  # the gateway has not waited for all of it


@pytest.mark.parametrize("length", ["+3", "3.0", "0x3", "3 3", "1e1", "9" * 40, "-3", ""])
def test_a_length_that_is_none_is_refused(running: Gateway, length: str) -> None:
    request = f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\nabc"
    with connected(running.http_url) as one:
        one.sendall(request.encode())
        answer = rest(one)
    assert answer.split(b" ")[1] in (b"400", b"413")
    assert answer.count(b"HTTP/1.1") == 1
