"""Write IPv6 addresses in brackets for gRPC, for URLs and in print, without brackets for sockets; know an address of gRPC."""

from __future__ import annotations

import re

# What the address of a Unix socket begins with; its path follows.
UNIX = "unix:"

# What is called by gRPC; avizor_client has the same. Without a port it would take 443, and of a larger one the last 16 bits.
_SOCKET = re.compile(r"unix(-abstract)?:.+", re.DOTALL)
_SCHEME = re.compile(r"(dns:(//[^/]*/)?|ipv[46]:)?")
_PLACE = re.compile(r"(?:\[[^\[\]]+\]|[^\s:/\[\]]+):([0-9]{1,9})")


def bare_host(host: str) -> str:
    """Return a host as sockets take it: `::1` for both `[::1]` and `::1`."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def with_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_grpc_address(text: str) -> bool:
    """Return whether a text is HOST:PORT, unix:PATH, or one of gRPC's longer forms of these, such as dns:///HOST:PORT."""
    if _SOCKET.fullmatch(text):
        return True
    places = [_PLACE.fullmatch(each) for each in _SCHEME.sub("", text, count=1).split(",")]
    return all(place and 1 <= int(place[1]) <= 65535 for place in places)
