"""Bring the calls of HTTP: their deadline, their headers, and their body, which is bounded while it comes and is unpacked."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator

from google.rpc.status_pb2 import Status
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from avizor_inference.errors import DeadlineExceeded, InvalidInput
from avizor_service.http.compression import unpacked
from avizor_service.message_memory import MessageMemory
from avizor_service.threads import Threads

# How long the client waits, in seconds: what gRPC calls the deadline of a call.
TIMEOUT = "x-request-timeout"

_SECONDS = re.compile(r"\d{1,7}(\.\d{1,9})?")


class HttpTransport:
    """Brings one call of HTTP. messages: which sizes are taken. threads: where a body is unpacked."""

    ends_late_calls = False

    def __init__(self, scope: Scope, receive: Receive, messages: MessageMemory, threads: Threads) -> None:
        self.scope, self.headers, self.status = scope, Headers(scope=scope), Status()
        self.answer_headers: dict[str, str] = {}
        self.receive, self._messages, self._threads = receive, messages, threads
        self._late_at = _late_at(self.header(TIMEOUT))
        encoding = self.header("content-encoding").strip().lower()
        self._encoding = "" if encoding == "identity" else encoding

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline, None if it set none."""
        return None if self._late_at is None else self._late_at - time.monotonic()

    def header(self, name: str) -> str:
        """Return a header by its name in small letters; "" if there is none."""
        return self.headers.get(name, "")

    def answer_header(self, name: str, value: str) -> None:
        """Let the answer, or the status, have a header."""
        self.answer_headers[name] = value

    @contextlib.asynccontextmanager
    async def until_deadline(self) -> AsyncIterator[None]:
        """Cancel the block at the client's deadline. Raises DeadlineExceeded then, InvalidInput for a timeout that is none."""
        if self._late_at is None and (text := self.header(TIMEOUT)):
            raise InvalidInput(f"{TIMEOUT} {text[:50]!r} is not a number of seconds such as 2.5", field=TIMEOUT)
        try:
            async with asyncio.timeout(self.time_remaining()):
                yield
        except TimeoutError:
            raise DeadlineExceeded(f"there was no answer in the {self.header(TIMEOUT)} s of {TIMEOUT}; allow more") from None

    def length(self) -> int | None:
        """Return how many bytes the body has; None for one in chunks, and for one that unpacks to nobody knows how many."""
        if self.header("transfer-encoding"):
            return None
        length = int(self.header("content-length") or 0)
        return length if length > self._messages.most_bytes or not self._encoding else None

    async def read(self) -> bytes:
        """Return the body, unpacked. It is not read from the connection before that.

        Raises MessageTooLarge as soon as that is known, InvalidInput for one that cannot be unpacked.
        """
        chunks, size, more = [], 0, True
        while more:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                raise asyncio.CancelledError
            chunks.append(event.get("body", b""))
            size, more = size + len(chunks[-1]), event.get("more_body", False)
            self._messages.check_size(size)
        body = b"".join(chunks)
        if not self._encoding:
            return body
        del chunks
        body = await self._threads.wait_for(unpacked, body, self._encoding, self._messages.most_bytes)
        self._messages.check_size(len(body))
        return body

    def end(self, status: Status) -> None:
        """Let the call be answered with a status when its handler returns."""
        self.status = status

    def given_up(self) -> None:
        """Note nothing: nothing is kept of a call that was given up."""

    def peer(self) -> str:
        """Return the client's address."""
        host, port = self.scope["client"] or ("", 0)
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _late_at(text: str) -> float | None:
    """Return when a call is late, on the monotonic clock; None for a text that is no number of seconds, or empty."""
    return time.monotonic() + float(text) if _SECONDS.fullmatch(text) else None
