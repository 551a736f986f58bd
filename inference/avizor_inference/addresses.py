"""Write IPv6 addresses in brackets for gRPC, for URLs and in print, without brackets for sockets."""

from __future__ import annotations

# What the address of a Unix socket begins with; its path follows.
UNIX = "unix:"


def bare_host(host: str) -> str:
    """Return a host as sockets take it: `::1` for both `[::1]` and `::1`."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def with_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
