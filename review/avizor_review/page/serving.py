"""Serve the page until a signal ends it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from avizor_inference.error_text import reason
from avizor_inference.errors import CertificateFileError
from avizor_review.page.address import Listening
from avizor_review.page.guard import Guard

# Requests at once; more are refused. A page asks for four things.
_MOST_REQUESTS = 64
_GRACE_S = 3

# Seconds in which a request, of 64 KiB at most, has to be complete. Who sends more slowly holds a place that others need.
REQUEST_S = 20


def serve(app: ASGIApp, listening: Listening, opened: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer on a socket until SIGINT or SIGTERM. Raises CertificateFileError if the certificate cannot be used."""
    guarded = Guard(app, listening.names, listening.token, is_tls=listening.certificate is not None)
    config = uvicorn.Config(
        guarded,
        http=_InTime,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=_MOST_REQUESTS,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=64 << 10,
    )
    config.load()
    if listening.certificate and listening.key:
        config.ssl = _context(listening)
    _Server(config, on_ready).run(sockets=[opened])


class _InTime(H11Protocol):
    """Ends a connection whose request is not complete in time; uvicorn itself would wait for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        if self._late is None:  # of a connection that was used before
            self._expect()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._relax()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._late = self.loop.call_later(REQUEST_S, self.transport.close)

    def _relax(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> Any:
        await super().startup(sockets)
        self._on_ready()


def _context(listening: Listening) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(listening.certificate), str(listening.key), password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        why = str(error) if isinstance(error, (ssl.SSLError, ValueError)) else reason(error)
        raise CertificateFileError(
            f"{listening.certificate} and {listening.key} cannot be used ({why}); give a certificate and its key in PEM, the "
            "key without a password"
        ) from error
    return context
