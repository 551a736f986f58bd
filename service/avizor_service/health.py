"""`avizor health`. Apart from the gateway itself: a container asks it every few seconds, so it loads little."""

from __future__ import annotations

import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# http_proxy, which Docker sets in every container, is for the way out; a proxy does not know 127.0.0.1 as this container.
_CHANNEL = [("grpc.enable_http_proxy", 0)]


@click.command(context_settings={"auto_envvar_prefix": "AVIZOR_HEALTH"})
@click.option("--target", default="127.0.0.1:50051", show_default=True, help="host:port or [IPv6]:port of a gateway's gRPC.")
@click.option("--timeout-s", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True)
def health(target: str, timeout_s: float) -> None:
    """Ask a gateway whether it serves. Exit code 0 if so, else 1."""
    with grpc.insecure_channel(target, _CHANNEL) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            click.echo(f"{target}: {error.code().name}: {error.details()}", err=True)
            sys.exit(1)
    click.echo(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(1)
