"""Listen for HTTP, and stop once what has arrived is answered."""

from __future__ import annotations

import asyncio
import socket
import ssl

from starlette.types import ASGIApp

from avizor_inference.addresses import with_port
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_service.http.connections import Connections
from avizor_service.http.last_connections import take_no_more
from avizor_service.http.refusals import Refusals
from avizor_service.http.tls_listener import TlsListener
from avizor_service.settings import Settings
from avizor_service.whole import Whole

# Connections that wait to be taken.
_BACKLOG = 1024

# Seconds in which a new connection has to speak TLS.
_HANDSHAKE_S = 20.0


class HttpServer:
    """Serves an application of ASGI over HTTP. whole: of which this process may be one worker.

    refusals: where what is no HTTP is noted. tls: of the connections; None for plain text.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, whole: Whole, refusals: Refusals, tls: ssl.SSLContext | None = None
    ) -> None:
        self._settings, self._whole, self._tls = settings, whole, tls
        self.connections = Connections(app, settings, whole.share(settings.max_connections), refusals)
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | TlsListener | None = None

    def listen(self) -> str:
        """Take the address, and return it as a URL. Raises SettingsError."""
        host, port = self._settings.host, self._settings.http_port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        is_dual = host == "::" and socket.has_dualstack_ipv6()
        try:
            self._socket = socket.create_server(
                (host, port), family=family, backlog=_BACKLOG, reuse_port=self._whole.shares_ports, dualstack_ipv6=is_dual
            )
        except OSError as error:
            raise SettingsError(
                f"cannot serve HTTP on {with_port(host, port)}: {reason(error)}; stop the other process or choose another "
                "--http-port or --host, or --no-http"
            ) from error
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{with_port(host, self._socket.getsockname()[1])}"

    async def start(self) -> None:
        """Take connections from now on."""
        assert self._socket is not None, "it listens"
        if self._tls:
            handshake_s = min(_HANDSHAKE_S, self._settings.receive_timeout_s)
            self._server = TlsListener(self._socket, self._tls, self.connections, handshake_s)
        else:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self.connections.made, sock=self._socket, backlog=_BACKLOG)

    def not_ready(self) -> None:
        """Tell clients, with their answers, to go elsewhere."""
        self.connections.is_stopping = True

    async def stop(self, grace_s: float) -> None:
        """Take no new connections, answer what has arrived, and return; after so many seconds, end what still runs."""
        if self._server:
            if self._socket:
                take_no_more(self._socket)
                await self.connections.take_last(self._socket, grace_s)
            self._server.close()
        await self.connections.end(grace_s)
        if isinstance(self._server, TlsListener):
            await self._server.end()
