"""A gRPC server in the middle, as a proxy before Triton is: it passes each call on, or ends it itself when a test says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from tritonclient.grpc import service_pb2


@dataclass
class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """failures: how the next calls of ModelInfer end, in their order. changed: what is made of the next of its answers.

    with_id: both only for requests with an id, which are those of a gateway's callers, and not its own.
    """

    server: str
    failures: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)
    changed: list[Callable[[bytes], bytes]] = field(default_factory=list)
    with_id: bool = False
    address: str = ""

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(self.server, [("grpc.max_receive_message_length", -1)])

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def passed_on(request: bytes, context: grpc.ServicerContext) -> bytes:
            is_meant = details.method.endswith("/ModelInfer") and not (self.with_id and not _id(request))
            if is_meant and self.failures:
                context.abort(*self.failures.pop(0))
            try:
                answer: bytes = self._channel.unary_unary(details.method)(request)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            return self.changed.pop(0)(answer) if is_meant and self.changed else answer

        return grpc.unary_unary_rpc_method_handler(passed_on)


def _id(request: bytes) -> str:
    return str(service_pb2.ModelInferRequest.FromString(request).id)


@contextlib.contextmanager
def proxy(server: str) -> Iterator[Proxy]:
    """Serve before the gRPC of `server` (host:port), at `address` of what is yielded."""
    handler = Proxy(server)
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    running = grpc.server(ThreadPoolExecutor(8), [handler], options=options)
    handler.address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    try:
        yield handler
    finally:
        running.stop(0).wait()
