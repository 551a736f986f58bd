"""Call the front door as a client does, each time that Prometheus asks, and say in metrics whether it answered.

Runs in the gateway's image. The calls are made over TLS and with a token, on a new connection: one to the gateway, and one to
Triton. Why one failed is printed when it begins to fail. Certificate and token are read anew each time.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import start_http_server

TIMEOUT_S = 4.0

# An empty request of each, and the answer that is expected; None for any.
CALLS = {
    "gateway": ("/avizor.v1.InferenceService/ListModels", None),
    "triton": ("/inference.GRPCInferenceService/ServerReady", b"\x08\x01"),
}

# The names and texts of the metrics.
UP = ("avizor_front_door_up", "1 if a call to this server, through the front door with TLS and a token, was answered.")
EXPIRES = (
    "avizor_front_door_certificate_expires_timestamp_seconds",
    "When the front door's certificate ends, in seconds since 1970.",
)


class FrontDoor:
    """Collects the metrics of the front door at `target` (host:port). certificate: what to trust. token: its file."""

    def __init__(self, target: str, certificate: Path, token: Path) -> None:
        self._target, self._certificate, self._token = target, certificate, token
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the metrics without values, so that nothing is called when they are registered."""
        return [GaugeMetricFamily(*UP, labels=["to"]), GaugeMetricFamily(*EXPIRES)]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Call the front door, and yield what came of it."""
        up, expires = self.describe()
        try:
            certificate = self._shake_hands()
            expires.add_metric([], ssl.cert_time_to_seconds(certificate["notAfter"]))
            problems = self._call_all(_a_name_of(certificate))
        except (OSError, ValueError) as error:
            problems = dict.fromkeys(CALLS, f"no TLS with {self._target}: {error}")
        for server, problem in problems.items():
            up.add_metric([server], 0.0 if problem else 1.0)
            self._tell(server, problem)
        yield up
        yield expires

    def _shake_hands(self) -> dict[str, Any]:
        """Return the certificate that is shown now. Raises OSError if it is not trusted, or has ended."""
        context = ssl.create_default_context(cafile=str(self._certificate))
        context.check_hostname = False  # the network of the containers knows it by another name
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # one that a CA has issued is trusted itself
        host, _, port = self._target.rpartition(":")
        with (
            socket.create_connection((host, int(port)), TIMEOUT_S) as connection,
            context.wrap_socket(connection) as secured,
        ):
            certificate: dict[str, Any] | None = secured.getpeercert()
        assert certificate  # it was verified
        return certificate

    def _call_all(self, name: str) -> dict[str, str]:
        credentials = grpc.ssl_channel_credentials(self._certificate.read_bytes())
        options = [
            ("grpc.ssl_target_name_override", name),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
        ]
        metadata = [("authorization", f"Bearer {self._token.read_text().strip()}")]
        with grpc.secure_channel(self._target, credentials, options) as channel:
            return {server: self._call(channel, *CALLS[server], metadata) for server in CALLS}

    def _call(self, channel: grpc.Channel, method: str, expected: bytes | None, metadata: list[tuple[str, str]]) -> str:
        """Make a call; return why it failed, or ""."""
        try:
            answer = channel.unary_unary(method)(b"", metadata=metadata, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "" if expected in (None, answer) else "it is not ready"

    def _tell(self, server: str, problem: str) -> None:
        with self._lock:
            if problem != self._problems.get(server, ""):
                print(f"{server}: {problem or 'answers again'}", file=sys.stderr, flush=True)
            self._problems[server] = problem


def _a_name_of(certificate: dict[str, Any]) -> str:
    """Return a name that a certificate holds for. Raises ValueError if there is none."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    if not names:
        raise ValueError("the certificate names no host, so no client takes it")
    return str(names[0]).replace("*", "probe", 1)


def main() -> None:
    """Serve metrics until the container is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, metavar="HOST:PORT", help="the front door")
    parser.add_argument("--certificate", type=Path, default=Path("/run/secrets/certificate/tls.crt"), help="what to trust, PEM")
    parser.add_argument("--token", type=Path, default=Path("/run/secrets/probe/token"), help="a file with the token")
    parser.add_argument("--port", type=int, default=9115, help="of the metrics")
    options = parser.parse_args()
    registry = CollectorRegistry()
    registry.register(FrontDoor(options.target, options.certificate, options.token))
    _server, thread = start_http_server(options.port, registry=registry)
    thread.join()


if __name__ == "__main__":
    main()
