"""Say where a gateway is and how it is called: address, TLS, retries, and what goes with every call."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc

from avizor_client.errors import InputError
from avizor_client.files import read_file
from avizor_client.tokens import Token

# gRPC's own retries: a gateway that is full, or whose engine is away, says when they should come, or that they should not.
# CANCELLED is what a call gets that was on its way in the moment in which a gateway stopped; one that the caller cancels ends.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "avizor.v1.InferenceService", "method": method}],
            "retryPolicy": {
                "maxAttempts": 5,  # the most that gRPC allows
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            },
        }
        # Not Monitor: the sound of a stream is not kept.
        for method in ("ListModels", "GetModel", "Classify", "DetectAnomaly", "Embed", "Reconstruct", "Explain")
    ]
}
_OPTIONS = [
    # A proxy is for the internet. It would look for 127.0.0.1 elsewhere.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A call whose message is larger than this is not tried again; gRPC's default is less than a picture. It is what a gateway
    # takes by default: there gRPC refuses a larger one, in words that could mean "try again", as often as it is sent.
    ("grpc.per_rpc_retry_buffer_size", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # A gateway that is silent during a call is pinged, and away if it does not answer: its machine may be gone, which no packet
    # tells, and a stream of sound has no deadline. A gateway allows a ping in 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
]


# MiB of an answer that a client takes, if it is not told more: a gateway computes 64 MiB of outputs by default.
MAX_ANSWER_MIB = 256
# Asked after a call that was late: a channel that could not connect says why at once. The service config does not have it.
PROBE, PROBE_S = "/grpc.health.v1.Health/Check", 0.2

_MOST_MIB = 2047  # gRPC counts the bytes of a message in 32 bits

# The forms of an address that gRPC takes; avizor_inference has the same. Without a port gRPC would take 443, and of a larger
# one the last 16 bits.
_SOCKET = re.compile(r"unix(-abstract)?:.+", re.DOTALL)
_SCHEME = re.compile(r"(dns:(//[^/]*/)?|ipv[46]:)?")
_PLACE = re.compile(r"(?:\[[^\[\]]+\]|[^\s:/\[\]]+):([0-9]{1,9})")


@dataclass(frozen=True)
class Tls:
    """Says how the gateway proves who it is, and how the client does.

    ca: certificates (PEM) by which the gateway's is checked; None: those that gRPC brings. certificate, key: of the client, in
    PEM, for mutual TLS; both or neither. server_name: what the gateway's certificate is for, if that is not the address.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str = ""


@dataclass(frozen=True)
class Connection:
    """Says how a gateway is called.

    target: `HOST:PORT`, or `unix:PATH`. tls: None for a connection that is not encrypted. timeout_s: of each request, with all
    its tries. max_answer_mib: MiB of the largest answer that is taken.
    """

    target: str
    tls: Tls | None
    token: Token
    timeout_s: float
    max_answer_mib: int = MAX_ANSWER_MIB

    def open(self, channels: Any) -> Any:
        """Return a channel. channels: the module `grpc`, or `grpc.aio`.

        Raises InputError for an address or a number that is none, and for files that cannot be read.
        """
        if not _is_address(self.target):
            raise InputError(f"{self.target!r} is no address; give HOST:PORT, with a port up to 65535, or unix:PATH")
        if not self.timeout_s > 0:
            raise InputError(f"timeout_s is {self.timeout_s}; give seconds above 0")
        if not 1 <= self.max_answer_mib <= _MOST_MIB:
            raise InputError(f"max_answer_mib is {self.max_answer_mib}; give 1 to {_MOST_MIB} MiB")
        options = [*_OPTIONS, ("grpc.max_receive_message_length", self.max_answer_mib << 20)]
        if self.tls is None:
            return channels.insecure_channel(self.target, options)
        if self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return channels.secure_channel(self.target, _credentials(self.tls), options)

    def metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """Return what goes with a call. Raises InputError if the token cannot be read."""
        return (("x-request-id", request_id), *self.token.metadata())


class Closed:
    """Stands in for the stub of a client that is closed: each RPC raises InputError."""

    def __getattr__(self, rpc: str) -> NoReturn:
        raise InputError("the client is closed; make another one")


def new_request_id() -> str:
    """Return an id for a request that nobody else has."""
    return uuid.uuid4().hex


def _is_address(target: str) -> bool:
    if _SOCKET.fullmatch(target):
        return True
    places = [_PLACE.fullmatch(each) for each in _SCHEME.sub("", target, count=1).split(",")]
    return all(place and 1 <= int(place[1]) <= 65535 for place in places)


def _credentials(tls: Tls) -> Any:
    if (tls.certificate is None) != (tls.key is None):
        raise InputError("a client certificate needs its key, and a key its certificate; give both or neither")
    return grpc.ssl_channel_credentials(_pem(tls.ca), _pem(tls.key), _pem(tls.certificate))


def _pem(path: Path | str | None) -> bytes | None:
    """Return the bytes of a file in PEM. Raises InputError: gRPC would only say that it cannot connect."""
    if path is None:
        return None
    data = read_file(path)
    if b"-----BEGIN " not in data:
        raise InputError(f"{path}: is not in PEM; name a file that begins with -----BEGIN")
    return data
