"""Serve a registry's metrics to Prometheus."""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry, start_http_server

from avizor_inference.addresses import UNIX, with_port
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError

# Where Prometheus finds the metrics of a gateway that has no address, but a Unix socket.
_LOCAL = "127.0.0.1"


def serve_metrics(port: int, host: str, registry: CollectorRegistry, stack: contextlib.ExitStack) -> str:
    """Serve metrics until the stack is closed, and return HOST:PORT. host: an address, or unix:PATH. port: 0 takes a free one.

    Raises SettingsError.
    """
    host = _LOCAL if host.startswith(UNIX) else host
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise SettingsError(
            f"cannot serve metrics on {with_port(host, port)}: {reason(error)}; stop the other process or choose another "
            "--metrics-port, --metrics-host or --host"
        ) from error
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return with_port(host, int(server.server_port))
