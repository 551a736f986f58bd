"""Run a gateway from start to clean shutdown: it opens the engine and serves gRPC, health, reflection and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import grpc

from avizor_inference.engines.open_engine import engine_options, open_engine, runs_here
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
from avizor_service.http.open_http import open_http
from avizor_service.http.refusals import Refusals
from avizor_service.inference import Inference
from avizor_service.keeping.keeper import MOST_WAITING_BYTES, open_keeper
from avizor_service.listening import listen
from avizor_service.logs.call_log import CallLog
from avizor_service.logs.open_log import open_log
from avizor_service.media_decoders import MediaDecoders, open_media_decoders
from avizor_service.message_memory import BEYOND_MIB, MessageMemory
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.metrics_server import serve_metrics
from avizor_service.model_watch import ModelWatch
from avizor_service.open_files import allow_open_files
from avizor_service.open_inference import servicer as open_inference
from avizor_service.receiving import Receiver
from avizor_service.reflection import serve_reflection
from avizor_service.reloading import Reloading
from avizor_service.servicer import SERVICE, NoMethod, handlers
from avizor_service.settings import Settings
from avizor_service.small_messages import SmallMessages
from avizor_service.stopping import stop
from avizor_service.streams import Streams
from avizor_service.threads import open_threads
from avizor_service.tokens import TokenInterceptor, Tokens
from avizor_service.tracing import open_tracing
from avizor_service.unread import Unread
from avizor_service.whole import ALONE, Addresses, Controls, Whole

_log = logging.getLogger(__name__)

# Bytes of a call that may come before they are asked for.
_UNREAD_BYTES = 65_535


async def run(settings: Settings, started: Callable[[Addresses], None], whole: Whole = ALONE) -> None:
    """Serve until SIGTERM or SIGINT; then take no new calls, and answer those that have arrived, within `grace_s` seconds.

    SIGHUP reads files again that may have changed (reloading.py).

    started: is called once the gateway listens. whole: of which this process may be one worker. Raises AvizorError before that
    if it cannot serve with these settings: a repository or token file that cannot be used, an alpha that a calibration cannot
    support, a port that is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    metrics = Metrics()
    reloading = Reloading(metrics)
    loop.add_signal_handler(signal.SIGHUP, reloading.ask)
    with contextlib.ExitStack() as stack:
        dropped = metrics.log_lines_dropped.inc
        log = stack.enter_context(open_log(settings.log_format, settings.log_level, settings.log_calls, dropped, whole.worker))
        if whole is ALONE:
            allow_open_files(settings.max_connections)
        tracing = stack.enter_context(open_tracing(settings.otlp_endpoint))
        access = open_access(settings, metrics, reloading, whole)
        gateway, decoders = _open_gateway(settings, metrics, whole, stack)
        models = ModelWatch(gateway.catalogue, gateway.anomaly_metrics, metrics)
        models.start()
        reloading.add("models", models.reload, settings.scan_s, at_start=True)
        messages = MessageMemory(
            settings.max_message_mib, settings.max_request_mib_in_flight, settings.max_wait_s, metrics, whole
        )
        receiver, streams = Receiver(settings.receive_timeout_s), Streams(metrics, settings.max_streams, whole)
        unread = Unread(settings.send_timeout_s)
        calls = Calls(metrics, settings.max_in_flight, messages, receiver, unread, log, whole, tracing)
        small = SmallMessages(messages, unread, settings.max_connections, settings.receive_timeout_s, whole)
        names = [SERVICE, open_inference.SERVICE] if settings.open_inference else [SERVICE]
        health = HealthService(("", *names), small)
        services = [handlers(gateway, calls, streams), health.handlers()]
        if settings.open_inference:
            services.append(open_inference.handlers(gateway, calls, streams, health, small))
        server = _server(settings, services, access.tokens, whole, log)
        if settings.reflection:
            serve_reflection([*names, HEALTH], server, small)
        server.add_generic_rpc_handlers([NoMethod(metrics, log)])
        credentials = access.certificates.grpc_credentials() if access.certificates else None
        address = listen(server, settings.host, settings.port, credentials)
        http = open_http(settings, gateway, calls, messages, access, health, Refusals(log, metrics), whole)
        http_address = "".join(each.listen() for each in http)
        metrics_address = whole.metrics_address or serve_metrics(
            settings.metrics_port, settings.metrics_host or settings.host, metrics.registry, stack
        )
        await decoders.ready()
        await server.start()
        for each in http:
            await each.start()
        engine_changed = partial(_engine_changed, settings, gateway.catalogue, metrics, health, whole)
        tasks = [
            _in_background(gateway.engine_watch.watch(engine_changed)),
            _in_background(receiver.end_late()),
            _in_background(small.receiver.end_late()),
            _in_background(unread.end_late()),
            _in_background(reloading.work()),
            _in_background(whole.take_part(Controls(metrics.registry, health.serving, health.not_ready, stopped.set))),
            *(_in_background(each.connections.end_late()) for each in http),
        ]
        # What is there now stays. Else each full collection looks at all of it, and holds up every call meanwhile.
        gc.collect()
        gc.freeze()
        started(Addresses(address, metrics_address, http_address))
        await stopped.wait()
        _log.info("stopping")
        await stop(server, http, calls, health, streams, settings, whole)
        for task in tasks:
            task.cancel()


def _in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run what goes on beside all calls. If it ends by an error, the log says so: nobody awaits it, and calls go on."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_if_failed)
    return task


def _tell_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        what = getattr(task.get_coro(), "__qualname__", task.get_name())
        _log.error("%s has failed, and is not done any more; restart the gateway", what, exc_info=error)


def _open_gateway(
    settings: Settings, metrics: Metrics, whole: Whole, stack: contextlib.ExitStack
) -> tuple[Gateway, MediaDecoders]:
    """Return a gateway over its engine, and the decoders, which may not be ready yet. They are closed with the stack."""
    repository = ModelRepository(settings.models)
    decoders = stack.enter_context(open_media_decoders(settings, metrics))
    decoders.launch()  # they get ready while the engine does
    engine = stack.enter_context(
        open_engine(
            settings.engine,
            repository,
            device=settings.device,
            batching=True,
            cores=whole.cores,
            statistics=whole.statistics,
        )
    )
    threads = stack.enter_context(open_threads(settings.max_in_flight))
    explaining = stack.enter_context(open_threads(settings.max_explanations, "avizor-explain"))
    drawer = stack.enter_context(open_drawer(settings.decoder_memory_mib, settings.decode_timeout_s))
    explanations = Explanations(metrics, settings.max_explanations, explaining, drawer, whole)
    sources = BoundedSources(settings.sources)
    anomaly_metrics = AnomalyMetrics(metrics, sources, settings.alpha, settings.confidence)
    catalogue = Catalogue(repository, engine, engine_options(settings.engine, settings.device), anomaly_metrics.accept)
    stack.callback(catalogue.close)
    anomaly_metrics.start(catalogue.calibrations())
    memory = DecodedMemory(settings.max_decoded_mib, whole)
    inference = Inference(engine, threads, metrics, decoders, memory, settings.max_answer_mib, settings.max_wait_s)
    watch = EngineWatch(engine, settings.engine)
    keeper = stack.enter_context(open_keeper(settings, metrics, sources, whole.share(MOST_WAITING_BYTES)))
    return Gateway(settings, catalogue, inference, anomaly_metrics, threads, watch, explanations, keeper), decoders


def _server(
    settings: Settings, services: list[grpc.GenericRpcHandler], tokens: Tokens, whole: Whole, log: CallLog
) -> grpc.aio.Server:
    interceptors = [TokenInterceptor(tokens, log)] if settings.tokens else []
    options = [*_limits(settings, whole), *connection_options(settings), ("grpc.so_reuseport", int(whole.shares_ports))]
    server = grpc.aio.server(interceptors=interceptors, options=options)
    server.add_generic_rpc_handlers(services)
    return server


def _limits(settings: Settings, whole: Whole) -> list[tuple[str, int]]:
    """Return gRPC's own limits. They bound the memory of what has come and was not read (docs/limits.md)."""
    return [
        ("grpc.max_receive_message_length", (settings.max_message_mib + BEYOND_MIB) << 20),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", whole.share(settings.max_connections)),
        ("grpc.http2.lookahead_bytes", _UNREAD_BYTES),
        ("grpc.http2.bdp_probe", 0),  # it would let more than that come
    ]


def _engine_changed(
    settings: Settings, catalogue: Catalogue, metrics: Metrics, health: HealthService, whole: Whole, up: bool
) -> None:
    """Tell health checks and metrics that the engine is up, or away."""
    catalogue.forget_newest()
    metrics.engine_up.labels(settings.engine if runs_here(settings.engine) else "triton").set(up)
    whole.engine_changed(up, health.serving)
