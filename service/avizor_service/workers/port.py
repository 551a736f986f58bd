"""Hold a port for processes that share it. Nothing is accepted here."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from avizor_inference.addresses import UNIX, with_port
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError


@contextlib.contextmanager
def held_port(host: str, port: int, option: str) -> Iterator[int]:
    """Yield a port on which only processes of this user may listen, until the end. port: 0 takes a free one.

    option: that names the port. Raises SettingsError if something else uses it.
    """
    if host.startswith(UNIX):
        raise SettingsError(f"several workers cannot share {host}; give --workers 1, or an address with a port as --host")
    with contextlib.ExitStack() as stack:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, _, _, _, address in addresses:
                _require_free(family, (address[0], port, *address[2:]))
                held = stack.enter_context(_socket(family))
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                held.bind((address[0], port, *address[2:]))
                port = held.getsockname()[1]  # the same one for every address of a name
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {with_port(host, port)}: {reason(error)}; stop the other process or choose another {option} "
                "or --host"
            ) from error
        yield port


def _require_free(family: int, address: tuple[object, ...]) -> None:
    """Raise OSError if another process of this user shares the port already."""
    with _socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier gateway do not count
        probe.bind(address)


def _socket(family: int) -> socket.socket:
    opened = socket.socket(family)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return opened
