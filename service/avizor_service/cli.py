"""`avizor serve`."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from avizor_inference.engines.embedded import Device
from avizor_inference.engines.open import EMBEDDED
from avizor_service.addresses import bare_host
from avizor_service.server import Addresses, run
from avizor_service.settings import Settings

_path = click.Path(path_type=Path)
_DEFAULTS = Settings(models=Path("models"))


@click.command(context_settings={"auto_envvar_prefix": "AVIZOR_SERVE"})
@click.option("--models", type=_path, default=_DEFAULTS.models, show_default=True, help="Model repository.")
@click.option("--engine", default=EMBEDDED, show_default=True, help="`ort`, embedded, or triton://HOST:8001.")
@click.option("--device", type=click.Choice(["config", "cpu", "cuda"]), default="config", help="Of the embedded engine.")
@click.option("--host", default=_DEFAULTS.host, show_default=True, help="Where to listen; 0.0.0.0 for all, :: with IPv6.")
@click.option("--port", type=click.IntRange(0, 65535), default=_DEFAULTS.port, show_default=True, help="gRPC; 0: any free one.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), default=_DEFAULTS.metrics_port, show_default=True)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=_DEFAULTS.alpha,
    show_default=True,
    help="Share of false alarms at which the metrics count anomalies.",
)
@click.option("--tokens", type=_path, default=None, help='File of lines "Bearer <token>" "<who>"; without, anybody may call.')
@click.option("--sources", default="", help="Sources with metrics of their own, besides the calibrated ones: a,b,c.")
@click.option("--max-in-flight", type=click.IntRange(min=1), default=_DEFAULTS.max_in_flight, show_default=True)
@click.option("--max-message-mib", type=click.IntRange(min=1), default=_DEFAULTS.max_message_bytes >> 20, show_default=True)
@click.option("--max-items", type=click.IntRange(min=1), default=_DEFAULTS.max_items, show_default=True, help="Of one request.")
@click.option(
    "--max-windows", type=click.IntRange(min=1), default=_DEFAULTS.max_windows, show_default=True, help="Of a recording."
)
@click.option("--decoders", type=click.IntRange(min=1), default=_DEFAULTS.decoders, show_default=True, help="Decoding threads.")
@click.option(
    "--grace-s", type=click.FloatRange(min=0), default=_DEFAULTS.grace_s, show_default=True, help="To finish calls in."
)
def serve(
    models: Path,
    engine: str,
    device: Device,
    host: str,
    port: int,
    metrics_port: int,
    alpha: float,
    tokens: Path | None,
    sources: str,
    max_in_flight: int,
    max_message_mib: int,
    max_items: int,
    max_windows: int,
    decoders: int,
    grace_s: float,
) -> None:
    """Serve the models of a repository over gRPC: avizor.v1, health, reflection; Prometheus metrics beside it.

    Every option can be given as an environment variable, AVIZOR_SERVE_MODELS and so on. Stops cleanly on SIGTERM.
    """
    settings = Settings(
        models=models,
        engine=engine,
        device=device,
        host=bare_host(host),
        port=port,
        metrics_port=metrics_port,
        alpha=alpha,
        tokens=tokens,
        sources=tuple(filter(None, sources.split(","))),
        max_in_flight=max_in_flight,
        max_message_bytes=max_message_mib << 20,
        max_items=max_items,
        max_windows=max_windows,
        decoders=decoders,
        grace_s=grace_s,
    )
    # A server's log, unlike the warnings of a command that ends, names who speaks.
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("avizor_service").setLevel(logging.INFO)
    asyncio.run(run(settings, _say))


def _say(addresses: Addresses) -> None:
    # Read by scripts that asked for a free port, so it goes to standard output at once.
    click.echo(f"serving gRPC on {addresses.grpc}, metrics on http://{addresses.metrics}/metrics")
    sys.stdout.flush()
