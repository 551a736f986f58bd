"""Send OpenTelemetry spans of calls to a collector: one of each call, below that of its client, and one of each of its parts.

What is traced goes on to Triton, whose own spans are then below those of the gateway. OpenTelemetry is optional: it is imported
when tracing is asked for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc

from avizor_inference.error_text import one_line, reason
from avizor_inference.errors import SettingsError
from avizor_service.call_record import TRACEPARENT, CallRecord

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_log = logging.getLogger(__name__)

# Where OpenTelemetry itself looks for a collector.
_ENVIRONMENT = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# Parts of one call that have spans: a stream may last for months.
_MOST_PARTS = 200

# Seconds that the last spans have when the gateway ends.
_CLOSE_S = 3.0

# Loggers of OpenTelemetry that tell what is wrong with its variables; what is wrong is in the line, and no fault of the code.
_READ_SETTINGS = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.sdk.trace.export")

_INSTALL = "pip install 'avizor[tracing]'"


class Tracing:
    """Begins the spans of calls."""

    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer, self._propagator = tracer, TraceContextTextMapPropagator()

    def begin(self, rpc: str, record: CallRecord) -> None:
        """Begin the span of a call, in the task that serves it; below the client's span if there is one."""
        from opentelemetry import context, trace

        parent = self._propagator.extract({TRACEPARENT: record.traceparent}) if record.traceparent else context.Context()
        attributes = {"rpc.method": rpc, "avizor.request_id": record.request_id}
        span = self._tracer.start_span(f"avizor {rpc}", parent, trace.SpanKind.SERVER, attributes)
        context.attach(trace.set_span_in_context(span, parent))  # the task ends with its call
        record.trace = _CallTrace(self._tracer, span)
        record.traceparent = record.trace.traceparent()


class _CallTrace:
    """Holds the span of one call. See CallTrace."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span
        self._parts = 0

    def part(self, name: str) -> AbstractContextManager[object]:
        """See CallTrace.part."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            return contextlib.nullcontext()
        return self._tracer.start_as_current_span(name, record_exception=False)

    def traceparent(self) -> str:
        """See CallTrace.traceparent."""
        from opentelemetry import trace

        current = trace.get_current_span().get_span_context()
        return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"

    def end(self, model: str, code: str, message: str) -> None:
        """See CallTrace.end."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("avizor.model", model)
        self._span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
        if code != "OK":
            self._span.set_status(StatusCode.ERROR, f"{code}: {message}" if message else code)
        self._span.end()


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


@contextlib.contextmanager
def open_tracing(endpoint: str) -> Iterator[Tracing | None]:
    """Yield what traces calls; None if nothing is to be traced. Send the last spans at the end, if the collector takes them.

    endpoint: http://HOST:4317 of a collector (OTLP over gRPC), or https; empty for what the environment says in OpenTelemetry's
    own variables. Raises SettingsError.
    """
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc):
        raise SettingsError(f"--otlp-endpoint {endpoint!r} is not of the form http://HOST:4317 or https://HOST:4317")
    if not endpoint and not any(os.environ.get(name) for name in _ENVIRONMENT):
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        if endpoint:
            raise SettingsError(f"--otlp-endpoint needs OpenTelemetry, which is not installed; {_INSTALL}") from error
        _log.warning("nothing is traced, although %s names a collector; %s", " or ".join(_ENVIRONMENT), _INSTALL)
        yield None
        return
    for name in _READ_SETTINGS:
        logging.getLogger(name).addFilter(_without_traceback)
    resource = Resource({SERVICE_NAME: "avizor"}).merge(OTELResourceDetector().detect())
    try:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint or None)))
    except (OSError, ValueError) as error:
        wrong = f"{error.filename} cannot be read ({reason(error)})" if isinstance(error, OSError) else one_line(error)
        why = f"a variable of OpenTelemetry (OTEL_...) cannot be used: {wrong}; correct it, or unset it"
        if endpoint:
            raise SettingsError(why) from error
        _log.warning("nothing is traced, although %s names a collector: %s", " or ".join(_ENVIRONMENT), why)
        yield None
        return
    try:
        yield Tracing(provider.get_tracer("avizor_service"))
    finally:
        closing = threading.Thread(target=provider.shutdown, name="avizor-trace-end", daemon=True)
        closing.start()  # it would wait half a minute for a collector that is away
        closing.join(_CLOSE_S)
