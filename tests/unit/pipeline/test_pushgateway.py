"""Addresses that no Pushgateway has are refused before a job runs; answers that are no success say what to do."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from avizor_inference.errors import SettingsError
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.pushgateway import PushAccess, Pushgateway, check_gateway


@pytest.mark.parametrize(
    "address", ["host", "::1:9091", "host:9091/a b", "host:9091?x=y", "http://host:9091#x", "host:9091\x07"]
)
def test_what_would_not_reach_a_pushgateway_is_no_address(address: str) -> None:
    with pytest.raises(SettingsError, match="is not an address; write HOST:PORT"):
        check_gateway(address, PushAccess())


@pytest.mark.parametrize(
    "address", ["host:9091", "[::1]:9091", "http://host", "https://host/pushgateway", "host:9091/pushgateway"]
)
def test_addresses_with_a_path_or_the_port_of_their_scheme_are_taken(address: str) -> None:
    check_gateway(address, PushAccess())


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="--push-token-file") as raised:
        check_gateway("https://user:secret@host:9091", PushAccess())
    assert "secret" not in str(raised.value)


def test_files_that_hold_no_token_and_no_certificate_are_refused_before_a_job_runs(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_bytes(b"two words")
    with pytest.raises(SettingsError, match=f"^{file}: is not in PEM; name a file that begins with -----BEGIN$"):
        check_gateway("https://host:9091", PushAccess(ca=file))
    with pytest.raises(SettingsError, match=f"^{file}: holds no token; write the token alone"):
        check_gateway("https://host:9091", PushAccess(token=file))


def test_a_token_that_is_gone_is_not_taken_for_a_pushgateway_that_is_none(tmp_path: Path) -> None:
    access = PushAccess(token=tmp_path / "gone")
    problem = Pushgateway("https://127.0.0.1:9", "job", access).push_end(BatchMetrics())
    assert problem == f"{tmp_path / 'gone'}: cannot be read (no such file or directory); name another file"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 500\r\n\r\n", "it answered 500; see its log"),
        (b"HTTP/1.1 500 " + b"x" * 50_000 + b"\r\n\r\n", "it answered 500 " + "x" * 300 + "; see its log"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://there/x\r\n\r\n",
            "it answered 302 Found; it redirects to https://there/x; give the address of the Pushgateway there",
        ),
    ],
)
def test_an_answer_that_is_no_success_is_told_in_short(answer: bytes, problem: str) -> None:
    assert pushed_to(answer) == problem


def test_a_pushgateway_without_tls_is_told_apart_from_one_whose_certificate_is_not_trusted() -> None:
    problem = pushed_to(b"HTTP/1.1 400 Bad Request\r\n\r\n", "https://")
    assert (
        problem
        == "TLS failed (WRONG_VERSION_NUMBER); check that TLS is spoken there; without it, the address begins with http://"
    )


def pushed_to(answer: bytes, scheme: str = "http://") -> str:
    """Push the end of a job to a server that answers every connection with these bytes; return the problem."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        threading.Thread(target=serve, daemon=True).start()
        return Pushgateway(f"{scheme}127.0.0.1:{server.getsockname()[1]}", "night").push_end(BatchMetrics())
