"""Define `avizor serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click
import uvloop

from avizor_inference.addresses import bare_host
from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.error_text import reason
from avizor_inference.finite_range import FiniteRange
from avizor_service import web_options
from avizor_service.keeping.options import GROUP, keep_options
from avizor_service.limit_options import LIMIT_GROUPS, limit_options
from avizor_service.settings import Settings
from avizor_service.whole import Addresses

_log = logging.getLogger(__name__)

_PATH = click.Path(path_type=Path)
_PORT = click.IntRange(0, 65535)
_AT_LEAST_1 = click.IntRange(min=1)
_DEFAULTS = Settings(models=Path("models"))

_GROUPS = {
    "Models": ("models", "engine", "device", "scan_s"),
    "Listening": (
        "host",
        "port",
        "metrics_host",
        "metrics_port",
        "http",
        "http_port",
        "cors_origin",
        "http_name",
        "reflection",
        "open_inference",
    ),
    "Safety": ("tokens", "tls_certificate", "tls_key", "client_ca", "allow_anonymous"),
    "Workers": ("workers",),
    "Anomalies": ("alpha", "confidence", "sources"),
    **GROUP,
    **LIMIT_GROUPS,
    "Log and traces": ("log_format", "log_level", "log_calls", "otlp_endpoint"),
    "Stopping": ("stop_delay_s", "grace_s"),
}

_EXAMPLES = """\b
Examples:
  avizor serve --models models
  avizor serve --models models --engine triton://127.0.0.1:8001 --alpha 0.001
"""


def _bare(_context: click.Context, _parameter: click.Parameter, host: str) -> str:
    return bare_host(host)


def _names(_context: click.Context, _parameter: click.Parameter, names: str) -> tuple[str, ...]:
    return tuple(filter(None, names.split(",")))


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
    short_help="Serve a model repository over gRPC.",
    epilog=_EXAMPLES,
    context_settings={"auto_envvar_prefix": "AVIZOR_SERVE", "show_default": True},
)
@click.option("--models", type=_PATH, default=_DEFAULTS.models, help="Folder of the model repository.")
@click.option(
    "--engine",
    metavar="ENGINE",
    default=_DEFAULTS.engine,
    help="What runs the models: in this process `ort`, ONNX Runtime, `openvino` or `openvino:bf16`, OpenVINO, or `tuned`; or "
    "triton://HOST:8001, Triton's gRPC.",
)
@click.option(
    "--device",
    type=click.Choice(["config", "cpu", "cuda"]),
    default=_DEFAULTS.device,
    help="Device of the engine `ort`; `config` is what each model's config.pbtxt asks for.",
)
@click.option(
    "--scan-s",
    metavar="SECONDS",
    type=FiniteRange(min=0),
    default=_DEFAULTS.scan_s,
    help="Seconds between two looks for new versions, calibrations and models, which are then served. 0: only on SIGHUP.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default=_DEFAULTS.host,
    callback=_bare,
    help="Address to listen on; 0.0.0.0 or :: for all. unix:PATH is a socket for gRPC; metrics are then on 127.0.0.1.",
)
@click.option("--port", metavar="PORT", type=_PORT, default=_DEFAULTS.port, help="Port of gRPC; 0 takes a free one.")
@click.option(
    "--metrics-host",
    metavar="ADDRESS",
    default=_DEFAULTS.metrics_host,
    callback=_bare,
    show_default="that of --host",
    help="Address of the Prometheus metrics, which need no token.",
)
@click.option(
    "--metrics-port",
    metavar="PORT",
    type=_PORT,
    default=_DEFAULTS.metrics_port,
    help="Port of the Prometheus metrics; 0 takes a free one.",
)
@click.option(
    "--http/--no-http",
    default=_DEFAULTS.http,
    help="Serve HTTP too: avizor.v1 as JSON and files, and the Open Inference Protocol. Not on a Unix socket.",
)
@click.option("--http-port", metavar="PORT", type=_PORT, default=_DEFAULTS.http_port, help="Port of HTTP; 0 takes a free one.")
@click.option(
    "--cors-origin",
    metavar="ORIGIN",
    multiple=True,
    callback=web_options.origins,
    show_default=False,
    help="Origin of web pages that may call over HTTP, such as https://example.org. May be given several times. Without it, "
    "requests of web pages are refused.",
)
@click.option(
    "--http-name",
    metavar="NAME",
    multiple=True,
    callback=web_options.names,
    show_default=False,
    help="Name by which clients may call over HTTP: the header Host. May be given several times. Where anyone may call, "
    "localhost and --host alone are answered to without it; else any name.",
)
@click.option(
    "--tokens",
    type=_PATH,
    default=_DEFAULTS.tokens,
    help='File of tokens, in lines `"Bearer TOKEN" "NAME";`. Only calls with one of them are answered. Without it, all are.',
)
@click.option(
    "--tls-certificate",
    metavar="FILE",
    type=_PATH,
    default=_DEFAULTS.tls_certificate,
    help="Certificate of the gateway in PEM, with those between it and its root. Without it, calls come in plain text.",
)
@click.option(
    "--tls-key", metavar="FILE", type=_PATH, default=_DEFAULTS.tls_key, help="Private key of the certificate, in PEM."
)
@click.option(
    "--client-ca",
    metavar="FILE",
    type=_PATH,
    default=_DEFAULTS.client_ca,
    help="Certificates in PEM, one of which has to have signed the certificate of each client. Without it, clients need none.",
)
@click.option(
    "--allow-anonymous",
    is_flag=True,
    default=_DEFAULTS.allow_anonymous,
    help="Let anyone call, from other machines too. Without it, a --host that they can reach needs --tokens or --client-ca.",
)
@click.option(
    "--open-inference/--no-open-inference",
    default=_DEFAULTS.open_inference,
    help="Serve the Open Inference Protocol too: raw tensors in and out, for Triton's clients.",
)
@click.option(
    "--reflection/--no-reflection",
    default=_DEFAULTS.reflection,
    help="Tell clients such as grpcurl which RPCs there are, and what their messages look like.",
)
@click.option(
    "--workers",
    metavar="N",
    type=_AT_LEAST_1,
    default=_DEFAULTS.workers,
    help="Processes that serve on the same port, as one gateway. More than one pays for small models on many cores.",
)
@click.option(
    "--alpha",
    metavar="SHARE",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=_DEFAULTS.alpha,
    help="Promised share of false alarms, at which the metrics count anomalies. A request may ask for another.",
)
@click.option(
    "--confidence",
    metavar="SHARE",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=_DEFAULTS.confidence,
    show_default="alpha is kept on average over calibrations",
    help="Probability with which each calibration keeps alpha, e.g. 0.95. A request may ask for another.",
)
@click.option(
    "--sources",
    metavar="A,B,C",
    default=",".join(_DEFAULTS.sources),
    callback=_names,
    show_default=False,
    help="Sources with separate metrics, besides those of the calibrations.",
)
@keep_options
@limit_options
@click.option(
    "--stop-delay-s",
    metavar="SECONDS",
    type=FiniteRange(min=0),
    default=_DEFAULTS.stop_delay_s,
    help="Seconds that calls are still taken after health checks say NOT_SERVING on shutdown.",
)
@click.option(
    "--grace-s",
    metavar="SECONDS",
    type=FiniteRange(min=0),
    default=_DEFAULTS.grace_s,
    help="Seconds given to running calls on shutdown.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "console"]),
    default=_DEFAULTS.log_format,
    help="Lines of the log, on standard error: `json` for programs, `console` for people; `auto` is `console` on a terminal.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=_DEFAULTS.log_level,
    help="The least severe lines that are written.",
)
@click.option(
    "--log-calls",
    type=click.Choice(["all", "failed", "none"]),
    default=_DEFAULTS.log_calls,
    help="Calls that have a line in the log. `failed`: those that end with an error, or of which an item does.",
)
@click.option(
    "--otlp-endpoint",
    metavar="URL",
    default=_DEFAULTS.otlp_endpoint,
    show_default="what OTEL_EXPORTER_OTLP_ENDPOINT says, or else nothing is traced",
    help="Collector that OpenTelemetry spans are sent to: http://HOST:4317, OTLP over gRPC. It needs avizor[tracing].",
)
def serve(**options: Any) -> None:
    """Serve the models of a repository over gRPC: avizor.v1, health and reflection. Prometheus metrics have a separate port.

    Every option can be set by an environment variable: AVIZOR_SERVE_MODELS for --models, and so on. SIGTERM stops the gateway
    once all calls that have arrived are answered.
    """
    settings = Settings(**options)
    if settings.workers > 1:
        from avizor_service.workers.first import run_workers

        asyncio.run(run_workers(settings, _print_addresses))
    else:
        from avizor_service.server import run  # the first of several processes needs neither engine nor gRPC

        uvloop.run(run(settings, _print_addresses))


def _print_addresses(addresses: Addresses) -> None:
    # Scripts that asked for a free port read this line, so it is not buffered.
    http = f", HTTP on {addresses.http}" if addresses.http else ""
    line = f"serving gRPC on {addresses.grpc}, metrics on http://{addresses.metrics}/metrics{http}"
    try:
        if sys.stdout is not None:
            os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except OSError as error:  # a disk that is full is no reason not to serve
        _log.warning("cannot say on standard output where the gateway listens: %s", reason(error))
