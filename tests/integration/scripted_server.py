"""A gRPC server whose answers a test writes down: for what a real gateway does only when it is full, away or slow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from avizor.v1 import inference_pb2 as pb
from avizor.v1.inference_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server


@dataclass
class Script(InferenceServiceServicer):
    """failures: codes that ListModels answers with, in their order, before it succeeds. retry_ms: when a client is to come
    back; None: nothing is said; -1: never. models: that are listed. calls: the metadata of each call that arrived."""

    failures: list[grpc.StatusCode] = field(default_factory=list)
    retry_ms: int | None = None
    delay_s: float = 0.0
    models: list[pb.Model] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:  # noqa: N802
        self.calls.append(dict(context.invocation_metadata()))
        time.sleep(self.delay_s)
        if len(self.calls) <= len(self.failures):
            code = self.failures[len(self.calls) - 1]
            context.set_trailing_metadata(self._trailers(code))
            context.abort(code, "try again later")
        return pb.ListModelsResponse(models=self.models)

    def _trailers(self, code: grpc.StatusCode) -> tuple[tuple[str, str | bytes], ...]:
        """What the gateway sends: see avizor_service.status."""
        if self.retry_ms is None:
            return ()
        status = Status(code=code.value[0])
        if self.retry_ms >= 0:
            retry = RetryInfo()
            retry.retry_delay.FromMilliseconds(self.retry_ms)
            packed = Packed()
            packed.Pack(retry)
            status.details.append(packed)
        return (("grpc-status-details-bin", status.SerializeToString()), ("grpc-retry-pushback-ms", str(self.retry_ms)))


@contextlib.contextmanager
def scripted(script: Script, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """Serve a script, and return the address."""
    server = grpc.server(ThreadPoolExecutor(4))
    add_InferenceServiceServicer_to_server(script, server)
    here = "127.0.0.1:0"
    port = server.add_secure_port(here, credentials) if credentials else server.add_insecure_port(here)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
