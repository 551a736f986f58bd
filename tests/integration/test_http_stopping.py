"""SIGTERM: every request over HTTP that has arrived is answered, connections end with their answers, silent ones soon."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from integration.gateway import IMAGE, Gateway, gateway, wav
from integration.http_client import form
from support.sounds import tone

FILES = "/v1/models/digits:classify"
PNG = {"Content-Type": "image/png"}


@contextlib.contextmanager
def connected(running: Gateway) -> Iterator[http.client.HTTPConnection]:
    address = urlsplit(running.http_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    with contextlib.closing(connection):
        yield connection


def asked(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("POST", FILES, IMAGE.image, PNG)
    answer = connection.getresponse()
    answer.read()
    return answer


@pytest.mark.parametrize("stays", [True, False])
def test_under_load_no_request_is_lost(models: Path, stays: bool) -> None:
    """stays: whether clients send one request after another over a connection, or take a new one for each."""
    ended: Counter[str] = Counter()

    def call(running: Gateway) -> None:
        with connected(running) as connection:
            while True:
                try:
                    answer = asked(connection)
                    ended[str(answer.status)] += 1
                    if not stays or answer.will_close:
                        connection.close()
                except ConnectionRefusedError:
                    ended["nobody listens"] += 1
                    return
                except OSError as error:
                    ended[repr(error)] += 1
                    return

    with gateway(models, "--alpha", 0.05, "--max-wait-s", 60) as running:
        callers = [threading.Thread(target=call, args=[running]) for _ in range(16)]
        for each in callers:
            each.start()
        while ended["200"] < 300:
            time.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        for each in callers:
            each.join()
    assert ended.keys() == {"200", "nobody listens"}, ended
    assert ended["nobody listens"] == 16


def test_connections_that_the_system_has_taken_are_answered(models: Path) -> None:
    """They wait in the queue of the listener until the gateway takes them: the more, the faster they come."""
    opened: list[socket.socket] = []

    def ask(address: tuple[str, int]) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while len(opened) < 800:  # many systems let a process open 1024 files
                opened.append(one := socket.create_connection(address, timeout=30))
                with contextlib.suppress(ConnectionError):  # that is seen when it is read
                    one.sendall(b"GET /health HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")

    with gateway(models, "--alpha", 0.05, "--max-connections", 100_000) as running, contextlib.ExitStack() as stack:
        address = urlsplit(running.http_url)
        callers = [threading.Thread(target=ask, args=[(address.hostname, address.port)]) for _ in range(4)]
        for each in callers:
            each.start()
        while len(opened) < 100:
            time.sleep(0.001)
        assert running.stop() == 0
        for each in callers:
            each.join()
        for one in opened:
            stack.enter_context(one)
        assert Counter(said(one) for one in opened) == {b"HTTP/1.1 ": len(opened)}


def said(one: socket.socket) -> bytes:
    """The first bytes of an answer; what happened if there is none."""
    try:
        return one.recv(9, socket.MSG_WAITALL)
    except OSError as error:
        return repr(error).encode()


def test_a_long_call_is_answered_a_silent_connection_ended_and_the_end_does_not_wait_for_it(models: Path) -> None:
    body, kind = form(*[("item", wav(tone(10.0)))] * 60)
    with (
        gateway(models, "--alpha", 0.05, "--grace-s", 60) as running,
        connected(running) as busy,
        connected(running) as silent,
        ThreadPoolExecutor() as threads,
    ):
        assert not asked(silent).will_close

        def ask() -> tuple[int, bool, bytes]:
            busy.request("POST", "/v1/models/kinds:classify", body, {"Content-Type": kind})
            answer = busy.getresponse()
            return answer.status, answer.will_close, answer.read()

        begun = threads.submit(ask)
        while not running.metrics()["avizor_in_flight_requests"]:
            time.sleep(0.005)
        running.process.send_signal(signal.SIGTERM)
        assert silent.sock.recv(1) == b""  # it is ended, and nobody waited for a limit of time
        assert begun.result()[:2] == (200, True)
        assert running.process.wait(30) == 0


def test_a_request_that_is_half_there_does_not_hold_up_the_end(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--grace-s", 2) as running, connected(running) as half, connected(running) as body:
        half.connect()
        half.sock.sendall(b"GET /v1/models HTTP/1.1\r\nHost:")
        body.putrequest("POST", FILES)
        body.putheader("Content-Length", "100")
        body.endheaders()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        with contextlib.suppress(ConnectionResetError):
            assert half.sock.recv(1) == b""


def test_while_it_is_still_asked_each_answer_says_that_the_connection_ends(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--stop-delay-s", 2) as running:
        with connected(running) as one:
            assert not asked(one).will_close
            running.process.send_signal(signal.SIGTERM)
            ready = 200
            while ready != 503:
                with connected(running) as check:
                    check.request("GET", "/v2/health/ready")
                    ready = check.getresponse().status
            answer = asked(one)  # a load balancer may not have heard yet
            assert (answer.status, answer.will_close) == (200, True)
        assert running.process.wait(30) == 0
