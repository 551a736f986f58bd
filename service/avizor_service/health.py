"""Define `avizor health`. It does not import the gateway: a container runs it every few seconds, so it has to load little."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avizor_inference.addresses import is_grpc_address
from avizor_inference.caller_files import read_token
from avizor_inference.error_text import printable
from avizor_inference.finite_range import FiniteRange
from avizor_inference.gateway_connection import tls_credentials
from avizor_inference.no_connection import why_no_answer

# Docker sets http_proxy in every container, for connections to the outside. A proxy would look for 127.0.0.1 elsewhere.
_CHANNEL = [("grpc.enable_http_proxy", 0)]

_EXAMPLES = """\b
Examples:
  avizor health
  avizor health --target [::1]:50051 --timeout-s 1
  avizor health --target gateway.example.com:8443 --ca tls.crt --token-file token
"""

_FILE = click.Path(path_type=Path)


@click.command(
    short_help="Ask a gateway whether it serves.",
    epilog=_EXAMPLES,
    context_settings={"auto_envvar_prefix": "AVIZOR_HEALTH", "show_default": True},
)
@click.option("--target", metavar="HOST:PORT", default="127.0.0.1:50051", help="gRPC address of the gateway; or unix:PATH.")
@click.option(
    "--timeout-s",
    metavar="SECONDS",
    type=FiniteRange(min=0, min_open=True),
    default=3.0,
    help="Seconds to wait for an answer.",
)
@click.option("--tls", is_flag=True, help="TLS, with the authorities that gRPC brings. The next options imply it.")
@click.option("--ca", "--ca-file", "ca", type=_FILE, help="Certificates (PEM) by which the gateway's is checked.")
@click.option(
    "--client-certificate",
    "--certificate",
    "client_certificate",
    type=_FILE,
    help="Certificate (PEM) of the caller, for mutual TLS; needs --client-key.",
)
@click.option("--client-key", "--key", "client_key", type=_FILE, help="Its key (PEM).")
@click.option("--server-name", default="", help="Name in the gateway's certificate, if that is not the address.")
@click.option("--token-file", type=_FILE, help="File with a token. A gateway wants none here; the front door does.")
def health(
    target: str,
    timeout_s: float,
    tls: bool,
    ca: Path | None,
    client_certificate: Path | None,
    client_key: Path | None,
    server_name: str,
    token_file: Path | None,
) -> None:
    """Ask a gateway whether it serves. Exit code: 0 it serves, 1 it does not."""
    if (client_certificate is None) != (client_key is None):
        raise click.UsageError("--client-certificate and --client-key belong together; give both or neither")
    credentials = None
    if tls or ca or client_certificate or server_name:
        credentials = tls_credentials(ca, client_certificate, client_key)
    metadata = (("authorization", f"Bearer {read_token(token_file)}"),) if token_file else ()
    if not is_grpc_address(target):
        wrong = f"{target!r} is no address; give HOST:PORT, with a port up to 65535, or unix:PATH"
        raise click.BadParameter(wrong, param_hint="--target")
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it writes a traceback for an answer that is none
    with _channel(target, credentials, server_name) as channel:
        try:
            ask = health_pb2_grpc.HealthStub(channel).Check
            answer = ask(health_pb2.HealthCheckRequest(), timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            said = printable(why_no_answer(str(error.details())))
            click.echo(f"{target}: {error.code().name}: {said}", err=True)
            sys.exit(1)
    known = health_pb2.HealthCheckResponse.ServingStatus
    click.echo(known.Name(answer.status) if answer.status in known.values() else f"status {answer.status}, which is none")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(1)


def _channel(target: str, credentials: Any, server_name: str) -> Any:
    if credentials is None:
        return grpc.insecure_channel(target, _CHANNEL)
    name = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    return grpc.secure_channel(target, credentials, _CHANNEL + name)
