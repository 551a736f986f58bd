"""Who calls a server that is none, or whose certificate is wrong, reads what is wrong with it, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from integration.gateway import AVIZOR
from integration.scripted_server import Script, scripted
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_client import AsyncClient, Client, DeadlineExceeded, Tls, Unavailable
from avizor_inference.errors import SettingsError
from avizor_inference.gateway_connection import Caller, GatewayAddress, GatewayConnection

LOOK = "see whether a gateway listens at this address, and whether it wants TLS"


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection after another, each of which is closed then."""

    def serve_all() -> None:
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as connected:
                    serve(connected)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_all, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def closing() -> contextlib.AbstractContextManager[str]:
    """Close each connection as soon as it comes."""
    return listening(lambda _connected: None)


def hanging_up() -> contextlib.AbstractContextManager[str]:
    """Speak HTTP/2 with each caller until it asks something."""

    def serve(connected: socket.socket) -> None:
        connected.sendall(bytes.fromhex("000000040000000000"))  # SETTINGS
        received = b""
        while b"/avizor.v1." not in received and (more := connected.recv(65_536)):
            received += more

    return listening(serve)


def refusing() -> contextlib.AbstractContextManager[str]:
    """Let nobody listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return contextlib.nullcontext(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.parametrize("server", [closing, refusing])
def test_a_deadline_before_any_connection_says_why(server: Callable[[], contextlib.AbstractContextManager[str]]) -> None:
    said = f"no answer in time: failed to connect to all addresses.*; {LOOK}$"
    with server() as target:
        with Client(target, timeout_s=1) as client, pytest.raises(DeadlineExceeded, match=said):
            client.models()

        async def in_a_loop() -> None:
            async with AsyncClient(target, timeout_s=1) as other:
                await other.models()

        with pytest.raises(DeadlineExceeded, match=said):
            asyncio.run(in_a_loop())


@pytest.mark.usefixtures("tried_again_at_once")
def test_a_server_that_closes_each_connection_when_it_is_asked_is_named() -> None:
    said = f"the server closed the connection before all was answered .*; {LOOK}$"
    with hanging_up() as target, Client(target) as client, pytest.raises(Unavailable, match=said):
        client.models()


@dataclass(frozen=True)
class Certificates:
    """Of a server, and those that its caller trusts."""

    server: grpc.ServerCredentials | None
    trusted: Path


def certificates(folder: Path, what: str) -> Certificates:
    authority, other = trustme.CA(), trustme.CA()
    (authority if what != "of another authority" else other).cert_pem.write_to_path(folder / "ca.pem")
    ends = datetime.now(UTC) + timedelta(days=-1 if what == "expired" else 1)
    issued = authority.issue_cert("gateway.test" if what == "for another host" else "127.0.0.1", not_after=ends)
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    server = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    if what == "cut off":
        (folder / "ca.pem").write_bytes((folder / "ca.pem").read_bytes()[:300])
    return Certificates(None if what == "none" else server, folder / "ca.pem")


def models_of(gateway: GatewayAddress) -> None:
    with GatewayConnection(gateway) as connection:
        connection.call(connection.stub.ListModels, pb.ListModelsRequest())


@pytest.mark.usefixtures("tried_again_at_once")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("none", "the server does not speak TLS; call it without"),
        ("expired", "the server's certificate has expired; have it renewed there"),
        ("for another host", "the server's certificate is for another name; call it by that name"),
        ("cut off", "a file of certificates, or of the key, is cut off or damaged; copy it again"),
        ("of another authority", "the server's certificate is signed by no authority that is known here"),
    ],
)
def test_a_certificate_that_is_refused_is_named(tmp_path: Path, what: str, message: str) -> None:
    chosen = certificates(tmp_path, what)
    with scripted(Script(), chosen.server) as target:
        with Client(target, tls=Tls(ca=chosen.trusted)) as client, pytest.raises(Unavailable, match=message):
            client.models()
        with pytest.raises(SettingsError, match=message):
            models_of(GatewayAddress(target, Caller(ca_file=chosen.trusted)))
        ended = warm_run([str(AVIZOR), "health", "--target", target, "--ca", str(chosen.trusted)], timeout=60)
        assert ended.returncode == 1
        assert message in ended.stderr


def test_grpc_writes_nothing_beside_the_message_where_the_command_is_run_as_a_module(tmp_path: Path) -> None:
    chosen = certificates(tmp_path, "cut off")
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    with scripted(Script(), chosen.server) as target:
        command = [sys.executable, "-m", "avizor_client.cli", "models", "--target", target, "--ca", str(chosen.trusted)]
        ended = subprocess.run(
            [*command, "--timeout-s", "1"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "a file of certificates, or of the key, is cut off or damaged; copy it again" in line


@pytest.mark.usefixtures("tried_again_at_once")
def test_a_host_that_nobody_knows_is_named() -> None:
    said = r"the name in nowhere\.invalid:1 is not known here; see whether it is the host's"
    with Client("nowhere.invalid:1", timeout_s=30) as client, pytest.raises((Unavailable, DeadlineExceeded), match=said):
        client.models()
    with pytest.raises(SettingsError, match=f"no connection to the gateway nowhere.invalid:1: {said}"):
        models_of(GatewayAddress("nowhere.invalid:1"))


def test_a_command_that_waits_for_a_gateway_says_what_to_look_at() -> None:
    said = f"no connection to the gateway .*: failed to connect to all addresses.*; {LOOK}$"
    with refusing() as target, pytest.raises(SettingsError, match=said):
        models_of(GatewayAddress(target))
