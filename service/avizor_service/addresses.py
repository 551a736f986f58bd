"""Addresses of IPv6: gRPC, URLs and what is printed have them in brackets, sockets without."""

from __future__ import annotations


def bare_host(host: str) -> str:
    """A host as sockets take it: `[::1]` and `::1` are `::1`."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def with_port(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
