"""Say what a call needs of what brought it: gRPC, or HTTP. All that a call goes through knows no more of either."""

from __future__ import annotations

import asyncio
from typing import Protocol
from urllib.parse import unquote

import grpc
from google.rpc.status_pb2 import Status

from avizor_service.batches import call_ended_early
from avizor_service.status import end

# A call that the client leaves, or whose message is too large, ends without one, too. gRPC then cancels it a moment later.
_CANCELLATION_S = 0.02


class Transport(Protocol):
    """Brings one call, and takes its answer away.

    ends_late_calls: whether it ends a call itself at the client's deadline; no status can be sent after that.
    """

    ends_late_calls: bool

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline, None if it set none."""

    def header(self, name: str) -> str:
        """Return what the client sent beside its message under a name in small letters; "" if nothing."""

    def answer_header(self, name: str, value: str) -> None:
        """Let the client have a value beside the answer, or the status, once either is sent. There is one such value."""

    def length(self) -> int | None:
        """Return how many bytes the message of the call has, None if that is not known before it has come."""

    async def read(self) -> bytes | None:
        """Return the next message of the call, None if it ends without one. It is not read from the connection before that.

        Raises AvizorError for one that is refused while it comes.
        """

    def end(self, status: Status) -> None:
        """Let the call end with a status when its handler returns."""

    def given_up(self) -> None:
        """Note that the client left, or that its deadline passed, before the call had ended."""

    def peer(self) -> str:
        """Return the client's address as gRPC writes it: `ipv4:HOST:PORT` or `ipv6:[HOST]:PORT`."""


def host_of(peer: str) -> str:
    """Return the host of an address: the same over gRPC, which quotes brackets, as over HTTP. peer: see Transport.peer."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]").removeprefix("::ffff:") or kind


class GrpcTransport:
    """Brings a call of gRPC. context: that of its handler."""

    __slots__ = ("_context", "_metadata")

    ends_late_calls = True

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context
        self._metadata: tuple[tuple[str, str | bytes], ...] | None = None  # gRPC makes it anew each time

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline, None if it set none."""
        remaining: float | None = self._context.time_remaining()
        return remaining

    def header(self, name: str) -> str:
        """Return a value of the call's metadata by its name; "" if there is none, or if it is not text."""
        if self._metadata is None:
            self._metadata = self._context.invocation_metadata() or ()
        for each, value in self._metadata:
            if each == name:
                return value if isinstance(value, str) else ""
        return ""

    def answer_header(self, name: str, value: str) -> None:
        """Send a value in the trailing metadata, with the answer: headers of their own cost as much as a small call."""
        self._context.set_trailing_metadata(((name, value),))

    def length(self) -> None:
        """Return None: the length is the first bytes of the message, and only gRPC sees it."""

    async def read(self) -> bytes | None:
        """Return the next message of the call, None if it ends without one."""
        message = await self._context.read()
        if message is grpc.aio.EOF:
            await asyncio.sleep(_CANCELLATION_S)
            return None
        received: bytes = message
        return received

    def end(self, status: Status) -> None:
        """Let the call end with a status when its handler returns."""
        end(self._context, status)

    def given_up(self) -> None:
        """Let the memory of such calls be freed (batches.py)."""
        call_ended_early()

    def peer(self) -> str:
        """Return the client's address."""
        return str(self._context.peer())
