"""Serve the page until a signal ends it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from avizor_inference.error_text import reason
from avizor_inference.errors import CertificateFileError
from avizor_review.page.address import Listening
from avizor_review.page.guard import Guard

# Requests at once; more are refused. A page asks for four things.
_MOST_REQUESTS = 64
_GRACE_S = 3


def serve(app: ASGIApp, listening: Listening, opened: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer on a socket until SIGINT or SIGTERM. Raises CertificateFileError if the certificate cannot be used."""
    guarded = Guard(app, listening.names, listening.token, is_tls=listening.certificate is not None)
    config = uvicorn.Config(
        guarded,
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
