"""Define `avizor health`. It does not import the gateway: a container runs it every few seconds, so it has to load little."""

from __future__ import annotations

import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# Docker sets http_proxy in every container, for connections to the outside. A proxy would look for 127.0.0.1 elsewhere.
_CHANNEL = [("grpc.enable_http_proxy", 0)]

_EXAMPLES = """\b
Examples:
  avizor health
  avizor health --target [::1]:50051 --timeout-s 1
"""


@click.command(
    short_help="Ask a gateway whether it serves.",
    epilog=_EXAMPLES,
    context_settings={"auto_envvar_prefix": "AVIZOR_HEALTH", "show_default": True},
)
@click.option("--target", metavar="HOST:PORT", default="127.0.0.1:50051", help="gRPC address of the gateway; or unix:PATH.")
@click.option(
    "--timeout-s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    help="Seconds to wait for an answer.",
)
def health(target: str, timeout_s: float) -> None:
    """Ask a gateway whether it serves. Exit code: 0 it serves, 1 it does not."""
    with grpc.insecure_channel(target, _CHANNEL) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            click.echo(f"{target}: {error.code().name}: {error.details()}", err=True)
            sys.exit(1)
    click.echo(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(1)
