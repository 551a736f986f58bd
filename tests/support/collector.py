"""Collectors of OpenTelemetry spans, real servers that keep what they are sent: OTLP over gRPC, and as Triton sends it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(services.TraceServiceServicer):
    """Keeps the spans that it is sent. url: where."""

    def __init__(self) -> None:
        self.url = ""
        self._spans: list[Span] = []
        self._services: set[str] = set()
        self._changed = threading.Condition()

    def Export(  # noqa: N802 of the protocol
        self, request: messages.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> messages.ExportTraceServiceResponse:
        with self._changed:
            for resource in request.resource_spans:
                self._services.update(
                    each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
                )
                for scope in resource.scope_spans:
                    self._spans.extend(scope.spans)
            self._changed.notify_all()
        return messages.ExportTraceServiceResponse()

    def services(self) -> set[str]:
        """Names of the services that spans came from."""
        return self._services

    def spans_of(self, trace_id: str, enough: Callable[[list[Span]], object]) -> list[Span]:
        """Spans of a trace, once there are enough of them."""
        until = time.monotonic() + 30
        with self._changed:
            while True:
                found = [span for span in self._spans if span.trace_id.hex() == trace_id]
                if enough(found):
                    return found
                assert self._changed.wait(until - time.monotonic()), f"only {[span.name for span in found]} came"


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    server, collector = grpc.server(ThreadPoolExecutor(4)), Collector()
    services.add_TraceServiceServicer_to_server(collector, server)
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None)


class JsonCollector:
    """Keeps the spans that Triton sends, which are JSON over HTTP. url: where."""

    def __init__(self) -> None:
        self.url = ""
        self._spans: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def keep(self, body: bytes) -> None:
        with self._changed:
            for resource in json.loads(body)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    self._spans.extend(scope["spans"])
            self._changed.notify_all()

    def spans_of(self, trace_id: str, enough: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        """Spans of a trace, once there are enough of them, or those that came within a second."""
        until = time.monotonic() + 1
        with self._changed:
            while not enough(found := [span for span in self._spans if span["traceId"] == trace_id]):
                if not self._changed.wait(until - time.monotonic()):
                    break
            return found


@contextlib.contextmanager
def collecting_json() -> Iterator[JsonCollector]:
    collector = JsonCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.keep(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()
