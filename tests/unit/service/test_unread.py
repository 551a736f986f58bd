"""unread.py: connections of clients that do not read are found by the names that gRPC gives them, and no others are ended."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest

from avizor_service.unread import Unread, end_connections


@contextlib.contextmanager
def connected(family: socket.AddressFamily, host: str, to: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield a client's end and the server's end of a connection."""
    dual = family == socket.AF_INET6
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as listening:
        client = socket.create_connection((to, listening.getsockname()[1]), timeout=5)
        server, _ = listening.accept()
        with client, server:
            yield client, server


@pytest.mark.parametrize(
    ("family", "host", "to", "peer"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1", "ipv4:127.0.0.1:{}"),
        (socket.AF_INET6, "::", "::1", "ipv6:%5B::1%5D:{}"),
        (socket.AF_INET6, "::", "127.0.0.1", "ipv4:127.0.0.1:{}"),
    ],
)
def test_the_connection_of_a_peer_is_ended_and_no_other(family: socket.AddressFamily, host: str, to: str, peer: str) -> None:
    with connected(family, host, to) as (late, _), connected(family, host, to) as (other, others_end):
        end_connections([peer.format(late.getsockname()[1]), "unix:", "unix:/run/some.sock"])
        assert late.recv(1) == b""  # the end
        others_end.sendall(b"x")
        assert other.recv(1) == b"x"


def of_this_link() -> str:
    """Return an address of this machine on one of its links, with the link's name: fe80::1%eth0. Skips where there is none."""
    listed = Path("/proc/net/if_inet6")
    for line in listed.read_text().splitlines() if listed.exists() else ():
        digits, _, _, scope, _, name = line.split()
        if scope == "20":
            return f"{ipaddress.IPv6Address(bytes.fromhex(digits))}%{name}"
    pytest.skip("this machine has no address of a link")


def test_the_connection_of_a_peer_on_the_same_link_is_ended() -> None:
    assert asyncio.run(code_of_unread("[::]:0", to=of_this_link())) is grpc.StatusCode.UNAVAILABLE


async def code_of_unread(
    address: str, meanwhile: Callable[[], Awaitable[None]] | None = None, to: str = "127.0.0.1"
) -> grpc.StatusCode:
    """Return how a call ends that counts as unread for 0.2 s. meanwhile: is awaited while it waits. to: who listens at [::]."""
    unread = Unread(timeout_s=0.2)

    async def never_answer(_requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        unread.add(context)
        await asyncio.sleep(60)
        return b""

    server = grpc.aio.server()
    methods = {"Ask": grpc.stream_unary_rpc_method_handler(never_answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", methods)])
    port = server.add_insecure_port(address)
    await server.start()
    ending = asyncio.create_task(unread.end_late())
    at = address.replace(":0", f":{port}").replace("[::]", f"[{to}]" if ":" in to else to)
    async with grpc.aio.insecure_channel(at) as channel:
        call = channel.unary_unary("/test.Service/Ask")(b"", timeout=20)
        if meanwhile:
            await asyncio.wait_for(meanwhile(), 20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    ending.cancel()
    await server.stop(0)
    return caught.value.code()


def test_grpc_names_its_peers_so(caplog: pytest.LogCaptureFixture) -> None:
    for address in ("127.0.0.1:0", "[::1]:0", "[::]:0"):
        assert asyncio.run(code_of_unread(address)) is grpc.StatusCode.UNAVAILABLE
    assert caplog.text.count("have not read an answer for 0.2 s") == 3


def test_when_open_files_cannot_be_listed_it_is_tried_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def failed() -> None:
        while "they are not ended" not in caplog.text:
            await asyncio.sleep(0.01)
        monkeypatch.undo()

    monkeypatch.setattr("avizor_service.unread._OPEN_FILES", tmp_path / "none")
    assert asyncio.run(code_of_unread("127.0.0.1:0", failed)) is grpc.StatusCode.UNAVAILABLE
