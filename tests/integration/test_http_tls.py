"""HTTPS: certificates of gateway and clients, renewed without a restart and without a failed call."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import trustme
from integration.gateway import Gateway, gateway
from integration.http_client import raw
from support.certificates import Files, certificate_files

ROOT, OTHER_ROOT = trustme.CA(), trustme.CA()


def trusting(root: trustme.CA, client: Path | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What a client needs that trusts a root, and shows a certificate. version: of TLS; None for any."""
    context = ssl.create_default_context(cadata=root.cert_pem.bytes().decode())
    if client:
        context.load_cert_chain(client)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def connected(running: Gateway, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    address = urlsplit(running.http_url)
    plain = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
    try:
        return context.wrap_socket(plain, server_hostname="localhost", session=session)
    except BaseException:
        plain.close()
        raise


def asked(connection: ssl.SSLSocket) -> bytes:
    """The first line of an answer; empty if the gateway ends the connection."""
    try:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"]}" not in answer and (piece := connection.recv(65_536)):
            answer += piece
    except OSError:
        return b""
    return answer.partition(b"\r\n")[0]


def is_answered(running: Gateway, context: ssl.SSLContext) -> bool:
    """Whether a request on a new connection is answered."""
    try:
        with connected(running, context) as one:
            return asked(one) == b"HTTP/1.1 200 OK"
    except OSError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.1)


@contextlib.contextmanager
def serving(models: Path, files: Files, *options: object) -> Iterator[Gateway]:
    tls = ["--tls-certificate", files.certificate, "--tls-key", files.key]
    with gateway(models, "--alpha", 0.05, "--receive-timeout-s", 1, *tls, *options) as running:
        assert running.http_url.startswith("https://")
        yield running


def test_certificates_are_renewed_while_requests_are_answered(models: Path, tmp_path: Path) -> None:
    files = certificate_files(tmp_path, ROOT)
    codes: list[int] = []
    ended = threading.Event()

    def ask_all_the_time(running: Gateway) -> None:
        address = urlsplit(running.http_url)
        connection = http.client.HTTPSConnection("localhost", address.port, timeout=30, context=trusting(ROOT))
        connection.connect()
        own = connection.sock
        while not ended.is_set():
            connection.request("GET", "/v1/models")
            answer = connection.getresponse()
            answer.read()
            codes.append(answer.status)
        assert connection.sock is own  # all over one connection
        connection.close()

    with serving(models, files) as running:
        assert is_answered(running, trusting(ROOT))
        assert not is_answered(running, trusting(OTHER_ROOT))
        caller = threading.Thread(target=ask_all_the_time, args=[running])
        caller.start()
        try:
            files.key.write_bytes(b"broken")
            wait_until(lambda: running.metrics()['avizor_reload_ok{part="certificates"}'] == 0)
            assert is_answered(running, trusting(ROOT))
            files.write(OTHER_ROOT)
            wait_until(lambda: running.metrics()['avizor_reload_ok{part="certificates"}'] == 1)
            assert is_answered(running, trusting(OTHER_ROOT))
            assert not is_answered(running, trusting(ROOT))
            before = len(codes)
            wait_until(lambda: len(codes) > before or not caller.is_alive())  # the connection that was open goes on
        finally:
            ended.set()
            caller.join()
        assert set(codes) == {200}
        assert len(codes) > before


def test_plain_text_is_not_answered_and_silence_is_ended(models: Path, tmp_path: Path) -> None:
    with serving(models, certificate_files(tmp_path, ROOT)) as running:
        assert b"200" not in raw(running.http_url, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw(running.http_url, b"") == b""  # it ends
        assert raw(running.http_url, b"\x16\x03\x01\x02\x00\x01") == b""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert is_answered(running, trusting(ROOT, version=version))


def test_connections_that_are_not_done_with_tls_count_and_make_room(models: Path, tmp_path: Path) -> None:
    options = ("--max-connections", 20, "--receive-timeout-s", 60)  # those that are not closed stay so for longer than it takes
    with serving(models, certificate_files(tmp_path, ROOT), *options) as running, contextlib.ExitStack() as stack:
        address = urlsplit(running.http_url)
        begun = []
        for _ in range(60):
            one = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0), timeout=30))
            with contextlib.suppress(ConnectionError):
                one.sendall(b"\x16\x03\x01\x02")
            begun.append(one)
        wait_until(lambda: len(select.select(begun, [], [], 0)[0]) == 40)  # those that were closed
        assert not is_answered(running, trusting(ROOT))
        for one in begun:
            one.close()
        wait_until(lambda: is_answered(running, trusting(ROOT)))


def test_a_client_needs_a_certificate_of_the_roots_that_count_now_even_if_it_was_here_before(
    models: Path, tmp_path: Path
) -> None:
    files, roots = certificate_files(tmp_path, ROOT), tmp_path / "clients.crt"
    first, second = trustme.CA(), trustme.CA()
    own = {}
    for root, name in ((first, "first"), (second, "second")):
        own[name] = tmp_path / f"{name}.pem"
        root.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(own[name])
    first.cert_pem.write_to_path(roots)
    with serving(models, files, "--client-ca", roots) as running:
        assert not is_answered(running, trusting(ROOT))
        assert not is_answered(running, trusting(ROOT, own["second"]))
        sessions = {}
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(ROOT, own["first"], version)
            with connected(running, context) as one:
                assert asked(one) == b"HTTP/1.1 200 OK"
                sessions[version] = context, one.session
        second.cert_pem.write_to_path(roots)
        wait_until(lambda: is_answered(running, trusting(ROOT, own["second"])))
        assert not is_answered(running, trusting(ROOT, own["first"]))
        for context, session in sessions.values():
            answer = b""
            with contextlib.suppress(OSError), connected(running, context, session) as one:
                answer = asked(one)
            assert answer == b""
