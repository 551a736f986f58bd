"""Run a gateway from start to clean shutdown: it opens the engine and serves gRPC, health, reflection and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

from avizor_inference.addresses import with_port
from avizor_inference.engines.base import Engine
from avizor_inference.engines.open_engine import EMBEDDED, engine_options, open_engine
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_inference.repository.models import ModelRepository
from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.calls import Calls
from avizor_service.catalogue import Catalogue
from avizor_service.decoded_memory import DecodedMemory
from avizor_service.gateway import Gateway
from avizor_service.inference import Inference
from avizor_service.media_decoders import MediaDecoders, open_media_decoders
from avizor_service.message_memory import RECEIVED_PER_LIMIT, MessageMemory
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.reflection import serve_reflection
from avizor_service.servicer import SERVICE, handlers
from avizor_service.settings import Settings
from avizor_service.streams import Streams
from avizor_service.threads import Threads, open_threads
from avizor_service.tokens import TokenInterceptor, read_tokens

_log = logging.getLogger(__name__)

# Seconds between two looks at whether the engine is up, and the longest that one look waits.
WATCH_S = 1.0

# Calls of one connection at once; a client keeps more waiting. Calls that wait for the event loop; gRPC ends more.
# Bytes of a call that may come before they are asked for.
_MOST_STREAMS = 1024
_MOST_PENDING = 2048
_UNREAD_BYTES = 65_535

# Keeps idle streams and connections open behind a load balancer, and does not cut off a client that pings often.
_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


@dataclass(frozen=True)
class Addresses:
    """Says where a running gateway listens."""

    grpc: str
    metrics: str


async def run(settings: Settings, started: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; then take no new calls, and give running calls `grace_s` seconds.

    started: is called once the gateway listens. Raises AvizorError before that if it cannot serve with these settings: a
    repository or token file that cannot be used, an alpha that a calibration cannot support, a port that is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    with contextlib.ExitStack() as stack:
        repository = ModelRepository(settings.models)
        decoders = stack.enter_context(open_media_decoders(settings, metrics))
        decoders.launch()  # they get ready while the engine does
        engine = stack.enter_context(open_engine(settings.engine, repository, device=settings.device, batching=True))
        threads = stack.enter_context(open_threads(settings.max_in_flight))
        gateway = _gateway(settings, repository, engine, decoders, threads, metrics)
        messages = MessageMemory(settings.max_message_mib, settings.max_request_mib_in_flight, settings.max_wait_s, metrics)
        streams = Streams(metrics, settings.max_streams)
        service = handlers(gateway, Calls(metrics, settings.max_in_flight, messages), streams)
        server, health_service = _server(settings, service, metrics)
        port = _bind(server, settings)
        metrics_port = _serve_metrics(settings, metrics, stack)
        await decoders.ready()
        await server.start()
        watching = asyncio.create_task(_watch(engine, settings, metrics, health_service))
        # What is there now stays. Else each full collection looks at all of it, and holds up every call meanwhile.
        gc.collect()
        gc.freeze()
        started(Addresses(with_port(settings.host, port), with_port(settings.host, metrics_port)))
        await stop.wait()
        _log.info("stopping")
        watching.cancel()
        streams.stop()
        await health_service.enter_graceful_shutdown()
        await server.stop(settings.grace_s)


def _gateway(
    settings: Settings,
    repository: ModelRepository,
    engine: Engine,
    decoders: MediaDecoders,
    threads: Threads,
    metrics: Metrics,
) -> Gateway:
    catalogue = Catalogue(repository, engine, engine_options(settings.engine, settings.device))
    anomaly_metrics = AnomalyMetrics(metrics, BoundedSources(settings.sources), settings.alpha, settings.confidence)
    anomaly_metrics.start(catalogue.calibrations())
    memory = DecodedMemory(settings.max_decoded_mib)
    inference = Inference(engine, threads, metrics, decoders, memory, settings.max_answer_mib, settings.max_wait_s)
    return Gateway(settings, catalogue, inference, anomaly_metrics, threads)


def _server(
    settings: Settings, service: grpc.GenericRpcHandler, metrics: Metrics
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    interceptors = [TokenInterceptor(read_tokens(settings.tokens), metrics)] if settings.tokens else []
    server = grpc.aio.server(interceptors=interceptors, options=[*_limits(settings), *_KEEPALIVE, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((service,))
    health_service = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    serve_reflection([SERVICE, health.SERVICE_NAME], server)
    return server, health_service


def _limits(settings: Settings) -> list[tuple[str, int]]:
    """Return gRPC's own limits. They bound the memory of what has come and was not read (docs/limits.md)."""
    return [
        ("grpc.max_receive_message_length", RECEIVED_PER_LIMIT * settings.max_message_mib << 20),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", _MOST_STREAMS),
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
        ("grpc.http2.lookahead_bytes", _UNREAD_BYTES),
        ("grpc.http2.bdp_probe", 0),  # it would let more than that come
    ]


def _bind(server: grpc.aio.Server, settings: Settings) -> int:
    address = with_port(settings.host, settings.port)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:  # it does not say why
        why = _why_not_free(settings.host, settings.port)
        raise SettingsError(
            f"cannot listen on {address}: {why}; stop the other process or choose another --port or --host"
        ) from error
    return int(port)


def _why_not_free(host: str, port: int) -> str:
    """Return why nothing can listen on the port, in the words of the operating system."""
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family) as probe:
                probe.bind(address)
    except OSError as error:
        return reason(error)
    return "address in use"


def _serve_metrics(settings: Settings, metrics: Metrics, stack: contextlib.ExitStack) -> int:
    try:
        server, thread = start_http_server(settings.metrics_port, settings.host, metrics.registry)
    except OSError as error:
        address = with_port(settings.host, settings.metrics_port)
        raise SettingsError(
            f"cannot serve metrics on {address}: {reason(error)}; stop the other process or choose another --metrics-port or "
            "--host"
        ) from error
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return int(server.server_port)


async def _watch(engine: Engine, settings: Settings, metrics: Metrics, health_service: health.aio.HealthServicer) -> None:
    """Tell health checks and metrics again and again whether the engine is up."""
    gauge = metrics.engine_up.labels(EMBEDDED if settings.engine == EMBEDDED else "triton")
    before: bool | None = None
    while True:
        up = await asyncio.to_thread(engine.ready, WATCH_S)
        gauge.set(up)
        if up != before:
            _log.log(logging.INFO if up else logging.WARNING, "engine %s is %s", settings.engine, "up" if up else "away")
            status = health_pb2.HealthCheckResponse.SERVING if up else health_pb2.HealthCheckResponse.NOT_SERVING
            for name in ("", SERVICE):
                await health_service.set(name, status)
            before = up
        await asyncio.sleep(WATCH_S)
