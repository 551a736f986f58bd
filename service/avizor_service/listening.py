"""Listen for gRPC on an IP address or a Unix socket, and say why where that cannot be done."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc

from avizor_inference.addresses import UNIX, with_port
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError

# What Linux has room for in the address of a socket, without the zero at the end.
_LONGEST_PATH = 107


def listen(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> str:
    """Let the server listen, and return its address as clients write it: HOST:PORT or unix:PATH.

    host: an address, or unix:PATH, which needs no port. port: 0 takes a free one. credentials: of TLS; None for plain text.
    Raises SettingsError.
    """
    add_port = partial(server.add_secure_port, server_credentials=credentials) if credentials else server.add_insecure_port
    if host.startswith(UNIX):
        return _listen_on_socket(add_port, Path(host.removeprefix(UNIX)))
    address = with_port(host, port)
    try:
        return with_port(host, int(add_port(address)))
    except RuntimeError as error:  # it does not say why
        raise SettingsError(
            f"cannot listen on {address}: {_why_not_free(host, port)}; stop the other process or choose another --port or "
            "--host"
        ) from error


def _why_not_free(host: str, port: int) -> str:
    """Return why nothing can listen on the port, in the words of the operating system."""
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family) as probe:
                probe.bind(address)
    except OSError as error:
        return reason(error)
    return "address in use"


def _listen_on_socket(add_port: Callable[[str], int], path: Path) -> str:
    address = f"{UNIX}{path}"
    length = len(os.fsencode(path))
    if length > _LONGEST_PATH:
        raise SettingsError(
            f"cannot listen on {address}: the path has {length} bytes, and a socket's at most {_LONGEST_PATH}; choose a "
            "shorter path"
        )
    try:
        _remove_stale(path, address)
        with socket.socket(socket.AF_UNIX) as probe:  # gRPC does not say why it cannot listen
            probe.bind(os.fspath(path))
        path.unlink()
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {address}: {reason(error)}; choose a path in a folder that exists and may be written to"
        ) from error
    add_port(address)
    return address


def _remove_stale(path: Path, address: str) -> None:
    """Remove the socket that a killed gateway has left. Raises SettingsError if the path is in use, OSError."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise SettingsError(f"cannot listen on {address}: a file that is not a socket has this name; choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:  # nobody listens
            path.unlink()
            return
    raise SettingsError(f"cannot listen on {address}: another process listens there; stop it, or choose another path")
