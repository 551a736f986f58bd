"""Take connections that speak TLS. Those whose handshake is under way count: asyncio's own server takes any number of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from avizor_service.http.connections import Connections

# Seconds until the next try when the system has no room for another connection: a limit of open files, for example.
_AGAIN_S = 0.2


class TlsListener:
    """Takes connections at a socket from the start until `close`. handshake_s: in which each has to speak TLS."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext, connections: Connections, handshake_s: float) -> None:
        self._socket, self._tls, self._connections, self._handshake_s = listener, tls, connections, handshake_s
        listener.setblocking(False)
        self._handshakes: set[asyncio.Task[None]] = set()
        self._taking = asyncio.create_task(self._take())

    def close(self) -> None:
        """Take no more connections. Handshakes that are under way go on, until `end`."""
        self._taking.cancel()

    async def end(self) -> None:
        """End the handshakes that are under way."""
        for handshake in self._handshakes:
            handshake.cancel()
        await asyncio.gather(self._taking, *self._handshakes, return_exceptions=True)

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        with self._socket:
            while True:
                try:
                    taken, _ = await loop.sock_accept(self._socket)
                except OSError:
                    await asyncio.sleep(_AGAIN_S)
                    continue
                if not self._connections.has_room:
                    taken.close()
                    continue
                handshake = loop.create_task(self._shake_hands(taken))
                self._handshakes.add(handshake)
                handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, taken: socket.socket) -> None:
        connection = self._connections.made()
        self._connections.in_handshake.add(connection)
        try:
            with contextlib.suppress(OSError):  # any stranger can cause one; the loop closes the socket
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection, taken, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
                )
        finally:
            self._connections.in_handshake.discard(connection)
