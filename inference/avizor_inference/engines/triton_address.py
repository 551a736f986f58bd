"""Read the address of a Triton as users write it: `triton://HOST[:PORT]`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from avizor_inference.addresses import with_port
from avizor_inference.errors import SettingsError

SCHEME = "triton"
GRPC_PORT = 8001

# A name or an IPv4 address, or an IPv6 address, which urlsplit returns without its brackets.
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]+)?", re.IGNORECASE)


def triton_address(text: str) -> str:
    """Return host:port of a Triton's gRPC, by default port 8001. Raises SettingsError if `text` is not an address."""
    refusal = SettingsError(
        f"{text!r} is not a server address; write triton://HOST:PORT with Triton's gRPC port, from 1 to 65535, and an IPv6 "
        "address as triton://[::1]:8001"
    )
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", GRPC_PORT if url.port is None else url.port
    except ValueError as error:  # not a port, or a bracket that is not closed
        raise refusal from error
    beside = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc or url.netloc.endswith(":")
    if url.scheme != SCHEME or not _HOST.fullmatch(host) or port == 0 or beside:
        raise refusal
    return with_port(host, port)
