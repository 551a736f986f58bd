"""Run a gateway from start to clean shutdown: it opens the engine and serves gRPC, health, reflection and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc
from prometheus_client import start_http_server

from avizor_inference.addresses import UNIX, with_port
from avizor_inference.engines.base import Engine
from avizor_inference.engines.open_engine import EMBEDDED, engine_options, open_engine
from avizor_inference.error_text import reason
from avizor_inference.errors import SettingsError
from avizor_inference.repository.models import ModelRepository
from avizor_service.access import open_access
from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.calls import Calls
from avizor_service.catalogue import Catalogue
from avizor_service.connections import connection_options
from avizor_service.decoded_memory import DecodedMemory
from avizor_service.drawing.drawer import open_drawer
from avizor_service.engine_watch import EngineWatch
from avizor_service.explanations import Explanations
from avizor_service.gateway import Gateway
from avizor_service.health_service import SERVICE as HEALTH
from avizor_service.health_service import HealthService
from avizor_service.inference import Inference
from avizor_service.listening import listen
from avizor_service.logs.open_log import open_log
from avizor_service.media_decoders import MediaDecoders, open_media_decoders
from avizor_service.message_memory import BEYOND_MIB, MessageMemory
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.open_inference import servicer as open_inference
from avizor_service.receiving import Receiver
from avizor_service.reflection import serve_reflection
from avizor_service.reloading import Reloading
from avizor_service.servicer import SERVICE, NoMethod, handlers
from avizor_service.settings import Settings
from avizor_service.small_messages import SmallMessages
from avizor_service.stopping import stop
from avizor_service.streams import Streams
from avizor_service.threads import Threads, open_threads
from avizor_service.tokens import TokenInterceptor, Tokens
from avizor_service.unread import Unread

_log = logging.getLogger(__name__)

# Bytes of a call that may come before they are asked for.
_UNREAD_BYTES = 65_535

# Where Prometheus finds the metrics of a gateway that has no address, but a Unix socket.
_LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Addresses:
    """Says where a running gateway listens."""

    grpc: str
    metrics: str


async def run(settings: Settings, started: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; then take no new calls, and answer those that have arrived, within `grace_s` seconds.

    SIGHUP reads files again that may have changed (reloading.py).

    started: is called once the gateway listens. Raises AvizorError before that if it cannot serve with these settings: a
    repository or token file that cannot be used, an alpha that a calibration cannot support, a port that is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    metrics = Metrics()
    reloading = Reloading(metrics)
    loop.add_signal_handler(signal.SIGHUP, reloading.ask)
    access = open_access(settings, metrics, reloading)
    with contextlib.ExitStack() as stack:
        dropped = metrics.log_lines_dropped.inc
        log = stack.enter_context(open_log(settings.log_format, settings.log_level, settings.log_calls, dropped))
        repository = ModelRepository(settings.models)
        decoders = stack.enter_context(open_media_decoders(settings, metrics))
        decoders.launch()  # they get ready while the engine does
        engine = stack.enter_context(open_engine(settings.engine, repository, device=settings.device, batching=True))
        threads = stack.enter_context(open_threads(settings.max_in_flight))
        explaining = stack.enter_context(open_threads(settings.max_explanations, "avizor-explain"))
        drawer = stack.enter_context(open_drawer(settings.decoder_memory_mib, settings.decode_timeout_s))
        explanations = Explanations(metrics, settings.max_explanations, explaining, drawer)
        watch = EngineWatch(engine, settings.engine)
        gateway = _gateway(settings, repository, engine, watch, decoders, threads, explanations, metrics)
        messages = MessageMemory(settings.max_message_mib, settings.max_request_mib_in_flight, settings.max_wait_s, metrics)
        receiver, streams = Receiver(settings.receive_timeout_s), Streams(metrics, settings.max_streams)
        unread = Unread(settings.send_timeout_s)
        calls = Calls(metrics, settings.max_in_flight, messages, receiver, unread, log)
        small = SmallMessages(messages, unread, settings.max_connections, settings.receive_timeout_s)
        names = [SERVICE, open_inference.SERVICE] if settings.open_inference else [SERVICE]
        health = HealthService(("", *names), small)
        services = [handlers(gateway, calls, streams), health.handlers()]
        if settings.open_inference:
            services.append(open_inference.handlers(gateway, calls, streams, health, small))
        server = _server(settings, services, access.tokens)
        if settings.reflection:
            serve_reflection([*names, HEALTH], server, small)
        server.add_generic_rpc_handlers([NoMethod()])
        credentials = access.certificates.grpc_credentials() if access.certificates else None
        address = listen(server, settings.host, settings.port, credentials)
        metrics_address = _serve_metrics(settings, metrics, stack)
        await decoders.ready()
        await server.start()
        tasks = [
            asyncio.create_task(watch.watch(partial(_engine_changed, settings, gateway.catalogue, metrics, health))),
            asyncio.create_task(receiver.end_late()),
            asyncio.create_task(small.receiver.end_late()),
            asyncio.create_task(unread.end_late()),
            asyncio.create_task(reloading.work()),
        ]
        # What is there now stays. Else each full collection looks at all of it, and holds up every call meanwhile.
        gc.collect()
        gc.freeze()
        started(Addresses(address, metrics_address))
        await stopped.wait()
        _log.info("stopping")
        await stop(server, calls.door, health, streams, settings)
        for task in tasks:
            task.cancel()


def _gateway(
    settings: Settings,
    repository: ModelRepository,
    engine: Engine,
    watch: EngineWatch,
    decoders: MediaDecoders,
    threads: Threads,
    explanations: Explanations,
    metrics: Metrics,
) -> Gateway:
    catalogue = Catalogue(repository, engine, engine_options(settings.engine, settings.device))
    anomaly_metrics = AnomalyMetrics(metrics, BoundedSources(settings.sources), settings.alpha, settings.confidence)
    anomaly_metrics.start(catalogue.calibrations())
    memory = DecodedMemory(settings.max_decoded_mib)
    inference = Inference(engine, threads, metrics, decoders, memory, settings.max_answer_mib, settings.max_wait_s)
    return Gateway(settings, catalogue, inference, anomaly_metrics, threads, watch, explanations)


def _server(settings: Settings, services: list[grpc.GenericRpcHandler], tokens: Tokens) -> grpc.aio.Server:
    interceptors = [TokenInterceptor(tokens)] if settings.tokens else []
    options = [*_limits(settings), *connection_options(settings), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(interceptors=interceptors, options=options)
    server.add_generic_rpc_handlers(services)
    return server


def _limits(settings: Settings) -> list[tuple[str, int]]:
    """Return gRPC's own limits. They bound the memory of what has come and was not read (docs/limits.md)."""
    return [
        ("grpc.max_receive_message_length", (settings.max_message_mib + BEYOND_MIB) << 20),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.http2.lookahead_bytes", _UNREAD_BYTES),
        ("grpc.http2.bdp_probe", 0),  # it would let more than that come
    ]


def _serve_metrics(settings: Settings, metrics: Metrics, stack: contextlib.ExitStack) -> str:
    host = _LOCAL if settings.host.startswith(UNIX) else settings.host
    try:
        server, thread = start_http_server(settings.metrics_port, host, metrics.registry)
    except OSError as error:
        address = with_port(host, settings.metrics_port)
        raise SettingsError(
            f"cannot serve metrics on {address}: {reason(error)}; stop the other process or choose another --metrics-port or "
            "--host"
        ) from error
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return with_port(host, int(server.server_port))


def _engine_changed(settings: Settings, catalogue: Catalogue, metrics: Metrics, health: HealthService, up: bool) -> None:
    """Tell health checks and metrics that the engine is up, or away."""
    catalogue.forget_newest()
    metrics.engine_up.labels(EMBEDDED if settings.engine == EMBEDDED else "triton").set(up)
    health.serving(up)
