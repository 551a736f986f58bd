"""End the connections of clients that do not read what they asked for.

gRPC's flow control lets a client hold a call for ever, and its place among all calls, by not reading its answer. A server of
grpc.aio can end neither such a call nor its connection: so the connection's socket is shut down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import unquote

import grpc

_log = logging.getLogger(__name__)

# The shortest time between two looks at what is late, and the longest.
_LOOKS_S = (0.05, 1.0)

# Where the system lists the open files of this process: Linux and macOS have it.
_OPEN_FILES = "/dev/fd"


class Waiting(Protocol):
    """Waits for its client to read."""

    def peer(self) -> str:
        """Return the client's address as gRPC writes it."""


class Unread:
    """Knows which calls wait for their client to read, and ends the connections of those that wait for too long.

    timeout_s: how long they may, in seconds. It does so while `end_late` runs. One task looks after all calls.
    """

    def __init__(self, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._since: dict[Waiting, float] = {}  # in order

    def add(self, call: Waiting) -> None:
        """Note that a call waits for its client to read, from now on."""
        self._since[call] = time.monotonic()

    def discard(self, call: Waiting) -> None:
        """Note that a call does not wait any more; it need not have waited."""
        self._since.pop(call, None)

    async def write(self, context: grpc.aio.ServicerContext, message: bytes) -> None:
        """Write a message of a stream, which waits while the client does not read."""
        self.add(context)
        try:
            await context.write(message)
        finally:
            self.discard(context)

    async def end_late(self) -> None:
        """End, again and again, the connections of calls that have waited for too long. Returns when cancelled."""
        shortest, longest = _LOOKS_S
        while True:
            await asyncio.sleep(min(longest, max(shortest, self._timeout_s / 4)))
            late = self._late(time.monotonic() - self._timeout_s)
            if late:
                _log.warning("connections are ended whose clients have not read an answer for %g s: %s", self._timeout_s, late)
                try:
                    end_connections(late)
                except OSError as error:  # as many files are open as this process may have
                    _log.warning("they are not ended: %s; it is tried again", error)

    def _late(self, begun_before: float) -> list[str]:
        """Return the peers of all calls that wait since before that time. They wait anew: ending them may fail."""
        peers: set[str] = set()
        while self._since:
            call, since = next(iter(self._since.items()))
            if since > begun_before:
                break
            self.discard(call)
            self.add(call)
            peers.add(call.peer())
        return sorted(peers)


def end_connections(peers: Iterable[str]) -> None:
    """End the connections of this process to these peers, named as gRPC names them. Those of Unix sockets have no names."""
    wanted = {address for peer in peers if (address := _address(peer))}
    for name in os.listdir(_OPEN_FILES) if wanted else ():
        with contextlib.suppress(OSError):  # it is no socket, is closed by now, or has no peer
            _end(int(name), wanted)


def _end(file: int, wanted: set[tuple[str, int]]) -> None:
    """Shut a socket down if it is connected to one of these addresses."""
    copy = os.dup(file)  # so that it stays the same one meanwhile
    try:
        connection = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            host, port, *flow_and_scope = connection.getpeername()
            if (_scoped(host, *flow_and_scope[1:]), port) in wanted:
                connection.shutdown(socket.SHUT_RDWR)


def _address(peer: str) -> tuple[str, int] | None:
    """Return host and port of `ipv4:HOST:PORT` or `ipv6:[HOST]:PORT`, in which gRPC escapes the brackets; None for others."""
    kind, _, address = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host, _, port = address.rpartition(":")
    return _plain(host.strip("[]")), int(port)


def _scoped(host: str, scope: int = 0) -> str:
    """Return a socket's address with the number of its interface, as gRPC writes one of a link; the system gives its name."""
    bare = host.partition("%")[0]
    return _plain(f"{bare}%{scope}" if scope else bare)


def _plain(host: str) -> str:
    """Return an address as it is compared: IPv4 if it is IPv4 within IPv6."""
    address = ipaddress.ip_address(host)
    return str(getattr(address, "ipv4_mapped", None) or address)
