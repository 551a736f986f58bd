"""Decide where the page may be served: to this machine as it is, to others only with a token and over TLS."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.addresses import bare_host
from avizor_inference.caller_token import token_in
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError, TokenFileError
from avizor_inference.regular_files import read_regular

_MOST_TOKEN_BYTES = 1 << 20


@dataclass(frozen=True)
class Listening:
    """Says where the page is served, and to whom.

    host, port: to listen on; port 0 is any free one. names: by which it may be called, besides this machine's own. token: empty
    for none. certificate, key: files in PEM; None for plain text.
    """

    host: str = "127.0.0.1"
    port: int = 0
    names: frozenset[str] = frozenset()
    token: str = ""
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(
        cls,
        host: str,
        port: int,
        names: tuple[str, ...] = (),
        token_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> Listening:
        """Check what the options of a command say. Raises SettingsError, which shows no token."""
        if (certificate is None) != (key is None):
            raise SettingsError("--tls-certificate and --tls-key belong together; give both, or none for plain text")
        host = bare_host(host)
        missing = [
            option for option, value in (("--token-file", token_file), ("--tls-certificate", certificate)) if value is None
        ]
        if missing and _reached_by_others(host):
            raise SettingsError(
                f"cannot listen on {host}: other machines reach it, and the page shows what was found and takes answers; give "
                f"{' and '.join(missing)}, or listen on 127.0.0.1"
            )
        token = _token(token_file) if token_file else ""
        return cls(host, port, frozenset({host.lower(), *(name.lower() for name in names)}), token, certificate, key)

    def url(self, port: int) -> str:
        """Return the address of the page. port: that it really listens on."""
        scheme = "https" if self.certificate else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{port}/"


def bound(listening: Listening) -> socket.socket:
    """Return a socket that listens. Raises SettingsError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((listening.host, listening.port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise SettingsError(
            f"cannot listen on {listening.host}:{listening.port} ({reason(error)}); stop the other process or choose another "
            "--port or --host"
        ) from error
    return opened


def _token(path: Path) -> str:
    try:
        return token_in(read_regular(path, _MOST_TOKEN_BYTES), path)
    except OSError as error:
        raise TokenFileError(f"{path}: cannot be read ({reason(error)})") from None


def _reached_by_others(host: str) -> bool:
    """Return whether other machines can reach an address: all but 127.0.0.0/8 and ::1. A name without address is taken so."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return True
    return not all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)
