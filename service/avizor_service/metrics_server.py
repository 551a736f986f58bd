"""Serve a registry's metrics to Prometheus."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from avizor_inference.addresses import UNIX, with_port
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError

# Where Prometheus finds the metrics of a gateway that has no address, but a Unix socket.
_LOCAL = "127.0.0.1"

# Connections at once: when there are more, the oldest ones end. Each has a thread.
_MOST_CONNECTIONS = 32

# Seconds in which a client has to send something, or to read.
_SILENCE_S = 10.0

# Seconds until the next connection is taken, where the process may open no more files.
_PAUSE_S = 0.2


def serve_metrics(port: int, host: str, registry: CollectorRegistry, stack: contextlib.ExitStack) -> str:
    """Serve metrics until the stack is closed, and return HOST:PORT. host: an address, or unix:PATH. port: 0 takes a free one.

    Raises SettingsError.
    """
    host = _LOCAL if host.startswith(UNIX) else host
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        kind = type("_Listener", (_Listener,), {"address_family": family})
        server: WSGIServer = make_server(str(address[0]), port, make_wsgi_app(registry), kind, _Handler)
    except OSError as error:
        raise SettingsError(
            f"cannot serve metrics on {with_port(host, port)}: {reason(error)}; stop the other process or choose another "
            "--metrics-port, --metrics-host or --host"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="avizor-metrics", daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return with_port(host, int(server.server_port))


class _Handler(WSGIRequestHandler):
    """Answers one request. A client that is silent for too long is left."""

    timeout = _SILENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


class _Listener(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread of its own. Whoever connects and says nothing cannot keep Prometheus out."""

    daemon_threads = True
    request_queue_size = 128  # connections that wait to be taken

    def __init__(self, *args: Any) -> None:
        self._open: dict[Any, None] = {}  # the oldest first
        self._lock = threading.Lock()
        super().__init__(*args)

    def get_request(self) -> Any:
        """Take a connection. Raises OSError."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_S)  # the connection waits on, and would be tried again at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to answer a connection."""
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > _MOST_CONNECTIONS else None
            self._open.pop(oldest, None)
        if oldest:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # its thread closes it
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was silent, or has left."""
