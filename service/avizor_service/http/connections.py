"""Hold the connections of HTTP: how many there are, how long they may be silent, and their end.

uvicorn speaks the protocol. What it does not bound is bounded here: a client that connects and says nothing, sends its headers
slowly, never ends a body that was refused, or does not read its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import h11
from google.rpc.code_pb2 import Code
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from avizor_service.call_record import REQUEST_ID
from avizor_service.http.last_connections import has_waiting
from avizor_service.http.refusals import Refusals
from avizor_service.settings import Settings

# Bytes of a request's line and headers, and of what frames a chunk.
_MOST_HEADER_BYTES = 32 << 10

# Seconds in which a client may still send what was refused before its connection is ended; else it may never see the answer.
# And seconds in which a client is answered that sends no more: most such clients are gone, and a few read on.
_LINGER_S = 2.0

# Seconds in which a request that is under way may arrive on a connection that would else be closed. HTTP/1.1 has no word for
# the end of a connection but in an answer.
_UNDER_WAY_S = 0.25

_NO_HTTP = "this is no request of HTTP, or its line and headers have more than 32 KiB"
_NO_HTTP_BODY = json.dumps({"code": Code.INVALID_ARGUMENT, "message": _NO_HTTP, "error": _NO_HTTP}).encode()

# The shortest time between two looks at what is late, and the longest.
_LOOKS_S = (0.05, 1.0)


class Connections:
    """Holds the connections of one listener. app: what answers requests. most: connections at once; more are closed.

    refusals: where what is no HTTP is noted. in_handshake: those that do not speak TLS yet.

    Its limits of time are those of gRPC's connections: `receive_timeout_s` for a request's headers,
    `send_timeout_s` for a client that does not read, `connection_idle_s` for one that asks for nothing.
    """

    def __init__(self, app: ASGIApp, settings: Settings, most: int, refusals: Refusals) -> None:
        self.app, self.settings, self.most, self.refusals = app, settings, most, refusals
        self.state = ServerState()
        self.in_handshake: set[Connection] = set()
        self.is_stopping = False
        self._config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
            timeout_keep_alive=int(settings.connection_idle_s) + 1,
        )
        self._config.load()
        self._set_date()

    @property
    def has_room(self) -> bool:
        """Return whether there may be one more."""
        return len(self.state.connections) + len(self.in_handshake) < self.most

    def made(self) -> Connection:
        """Return what speaks HTTP on a new connection."""
        return Connection(self, self._config)

    async def end_late(self) -> None:
        """End, again and again, the connections that are late. Returns when cancelled."""
        shortest, longest = _LOOKS_S
        least = min(self.settings.receive_timeout_s, self.settings.send_timeout_s, self.settings.connection_idle_s)
        while True:
            await asyncio.sleep(min(longest, max(shortest, least / 4)))
            self._set_date()
            now = asyncio.get_running_loop().time()
            for connection in tuple(self.state.connections):
                if isinstance(connection, Connection) and connection.is_late(now):
                    connection.transport.abort()

    async def take_last(self, listener: socket.socket, grace_s: float) -> None:
        """Return when the connections have been taken that had begun. grace_s: the most seconds that this may take."""
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        await asyncio.sleep(min(_UNDER_WAY_S, grace_s))
        while has_waiting(listener) and loop.time() < until:
            await asyncio.sleep(0)  # the loop takes one at each turn

    async def end(self, grace_s: float) -> None:
        """Let each connection end with its answer, and those on which nothing is asked soon; the rest after so many seconds."""
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        await asyncio.sleep(min(_UNDER_WAY_S, grace_s))
        for connection in tuple(self.state.connections):
            connection.shutdown()
        while self.state.connections and loop.time() < until:
            await asyncio.sleep(_LOOKS_S[0])
        for connection in tuple(self.state.connections):
            connection.transport.abort()
        while self.state.tasks:
            await asyncio.wait(self.state.tasks)

    def _set_date(self) -> None:
        self.state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode())]


class Connection(H11Protocol):
    """Speaks HTTP/1.1 on one connection, one request after another."""

    def __init__(self, connections: Connections, config: Config) -> None:
        super().__init__(config, connections.state, {})
        self._all, self.app = connections, self._serve
        self._serving: asyncio.Task[Any] | None = None
        # Since when: it asks for nothing; a request's headers are not complete; a request was answered that has not ended; the
        # client does not read; it sends no more, and its answer has not begun.
        self._idle: float | None = None
        self._begun: float | None = None
        self._refused: float | None = None
        self._unread: float | None = None
        self._left: float | None = None
        self._has_said_all = self._is_half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are as many as may be."""
        super().connection_made(transport)
        self._all.in_handshake.discard(self)
        self._begun = self.loop.time()
        if len(self.connections) > self._all.most:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the call in progress: nobody waits for its answer."""
        super().connection_lost(exc)
        if self._serving:
            self._serving.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        if self._has_said_all:
            return
        if self._idle is not None:
            self._idle, self._begun = None, self.loop.time()
        super().data_received(data)
        if self._refused is not None and self.conn.their_state is h11.IDLE:
            self._refused, self._idle = None, self.loop.time()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what was asked in full, if that is soon, of a client that sends no more. Over TLS there is no such end."""
        is_asked = self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body)
        if not is_asked or self.transport.get_extra_info("sslcontext"):
            return False
        self._is_half_closed = True
        if not self.cycle.response_started and self._left is None:
            self._left = self.loop.time()
        return True

    def shutdown(self) -> None:
        """Close the connection, with the answer if there is a call."""
        with contextlib.suppress(h11.LocalProtocolError):  # it is closing
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP. In the middle of a request nothing can be said but by ending the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        request_id = self._all.refusals.no_http(_NO_HTTP)
        headers = [CLOSE_HEADER, (b"content-type", b"application/json"), (REQUEST_ID.encode(), request_id.encode())]
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=_NO_HTTP_BODY),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(filter(None, map(self.conn.send, events))))
        self.end_gently()

    def end_gently(self) -> None:
        """End the connection once the client has read what was said. If it were closed before its last byte has come, the
        client's system would throw the answer away.
        """
        if self.transport.is_closing() or self.conn.their_state not in (h11.SEND_BODY, h11.ERROR):
            self.transport.close()
            return
        self._has_said_all, self._refused = True, self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        now = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY:
            self._refused = now
        else:
            self._idle = now
        super().on_response_complete()
        if self._is_half_closed and self.cycle.response_complete:  # nothing was asked behind it
            self.transport.close()

    def pause_writing(self) -> None:
        """Note since when the client does not read."""
        super().pause_writing()
        self._unread = self.loop.time()

    def resume_writing(self) -> None:
        """Note that it reads."""
        super().resume_writing()
        self._unread = None

    def is_late(self, now: float) -> bool:
        """Return whether the client has not done in time what it has to do."""
        settings = self._all.settings
        limits = (
            (self._idle, settings.connection_idle_s),
            (self._begun, settings.receive_timeout_s),
            (self._refused, _LINGER_S),
            (self._unread, settings.send_timeout_s),
            (self._left, _LINGER_S),
        )
        return any(since is not None and now - since > limit for since, limit in limits)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. It ends when the client has the answer, or is gone."""
        self._begun = self._idle = None
        self._serving = asyncio.current_task()
        self.cycle.transport = _Gentle(self.transport, self.end_gently)  # type: ignore[assignment]

        async def answer(message: Message) -> None:
            # Whoever waits for leave to send a body, and gets none, may or may not send it: nobody knows what comes next.
            is_closing = self._all.is_stopping or self.cycle.waiting_for_100_continue
            if message["type"] == "http.response.start":
                self._left = None
                if is_closing:
                    message["headers"] = [*message["headers"], CLOSE_HEADER]
            await send(message)

        try:
            await self._all.app(scope, receive, answer)
            await self.flow.drain()
        except asyncio.CancelledError:
            if not self.transport.is_closing():  # nothing can be said of why, so the client is told by the end
                self.transport.abort()
        finally:
            self._serving = None


@dataclass(frozen=True)
class _Gentle:
    """Stands for the transport of an answer. end: closes it when the client has the answer."""

    inner: asyncio.Transport
    end: Callable[[], None]

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.inner.write(data)

    def is_closing(self) -> bool:
        """Return whether nothing more can be sent."""
        return self.inner.is_closing()

    def close(self) -> None:
        """Send what was written, and then nothing more."""
        self.end()
