"""Say in words why there is no connection to a gateway. avizor_inference has the same for its commands."""

from __future__ import annotations

import re

_NOBODY, _CLOSED = "failed to connect to all addresses", "Stream removed"
_NO_NAME = "errors resolving "
_GONE = f"{_CLOSED} (ping timeout)"
LOOK = "see whether a gateway listens at this address, and whether it wants TLS"

# What gRPC says of a handshake of TLS that fails, and what that means.
_TLS = {
    "Hostname Verification Check failed": (
        "the server's certificate is for another name; call it by that name, or give the name as server_name"
    ),
    "CERTIFICATE_VERIFY_FAILED: certificate has expired": "the server's certificate has expired; have it renewed there",
    "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate": (
        "the server's certificate is signed by no authority that is known here; give the certificates of its authority as ca"
    ),
    "WRONG_VERSION_NUMBER": "the server does not speak TLS; call it without",
    "Failed to create security handshaker": "a file of certificates, or of the key, is cut off or damaged; copy it again",
}
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([^:;]+)")


def is_no_connection(details: str) -> bool:
    """Return whether a call has failed because there was no connection to a server, or it was closed before an answer came."""
    return details.startswith((_NOBODY, _NO_NAME, _CLOSED))


def why_no_connection(details: str) -> str:
    """Return why, and what to do. details: of a call that has failed so."""
    for text, words in _TLS.items():
        if text in details:
            return words
    if details.startswith(_NO_NAME):
        name = details.removeprefix(_NO_NAME).partition(": ")[0]
        return f"the name in {name} is not known here; see whether it is the host's, and whether names can be looked up"
    if match := _CERTIFICATE.search(details):
        return f"the server's certificate is refused ({match[1]}); have it renewed there"
    if details == _GONE:
        return "the server says nothing any more; see whether its machine runs, and whether the network reaches it"
    if details.startswith(_CLOSED):
        details = details.replace(_CLOSED, "the server closed the connection before all was answered", 1)
    return f"{details}; {LOOK}"
