"""A real gateway over an embedded engine for the unit tests of the RPCs, called without a server."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import soundfile
from google.protobuf.message import Message
from support.sounds import SAMPLE_RATE, tone
from unit.service.unanswered_engine import UnansweredEngine

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import Engine
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository
from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.calls import Call, Calls
from avizor_service.catalogue import Catalogue
from avizor_service.decoded_memory import DecodedMemory
from avizor_service.drawing.drawer import open_drawer
from avizor_service.engine_watch import EngineWatch
from avizor_service.explanations import Explanations
from avizor_service.gateway import Gateway
from avizor_service.inference import Inference
from avizor_service.media_decoders import open_media_decoders
from avizor_service.message_memory import MessageMemory
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.servicer import SERVICE, handlers
from avizor_service.settings import Settings
from avizor_service.streams import Streams
from avizor_service.threads import open_threads
from avizor_service.transport import GrpcTransport


@contextlib.contextmanager
def open_gateway(
    models: Path, metrics: Metrics | None = None, engine: Engine | None = None, **changes: Any
) -> Iterator[Gateway]:
    """Yield the parts of a gateway. Its alpha is 0.05, which 30 recordings of a source support. engine: closed at the end."""
    metrics = metrics or Metrics()
    settings = Settings(models, **({"alpha": 0.05, "decoders": 1} | changes))
    with (
        engine or EmbeddedEngine(models) as engine,
        open_threads(waiting=2) as threads,
        open_threads(settings.max_explanations) as explaining,
        open_media_decoders(settings, metrics) as decoders,
        open_drawer(settings.decoder_memory_mib, settings.decode_timeout_s) as drawer,
    ):
        catalogue = Catalogue(ModelRepository(models), engine)
        if isinstance(engine, UnansweredEngine):
            with engine.let_through():
                catalogue.refresh()
        anomaly_metrics = AnomalyMetrics(metrics, BoundedSources(settings.sources), settings.alpha)
        anomaly_metrics.start(catalogue.calibrations())
        memory = DecodedMemory(settings.max_decoded_mib)
        inference = Inference(engine, threads, metrics, decoders, memory, settings.max_answer_mib, settings.max_wait_s)
        explanations = Explanations(metrics, settings.max_explanations, explaining, drawer)
        watch = EngineWatch(engine, settings.engine)
        yield Gateway(settings, catalogue, inference, anomaly_metrics, threads, watch, explanations)


@dataclass(eq=False)
class Caller:
    """The context of a call from this process: a caller without a network, who sets no deadline.

    message: what it sends. ended: code and details of a call that has failed.
    """

    message: bytes = b""
    ended: tuple[grpc.StatusCode, str] = (grpc.StatusCode.OK, "")

    def time_remaining(self) -> float | None:
        return None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def read(self) -> bytes:
        return self.message

    def set_code(self, code: grpc.StatusCode) -> None:
        self.ended = (code, self.details())

    def set_details(self, details: str) -> None:
        self.ended = (self.code(), details)

    def code(self) -> grpc.StatusCode:
        return self.ended[0]

    def details(self) -> str:
        return self.ended[1]

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        assert (code, details) == self.ended
        raise grpc.aio.AbortError

    def set_trailing_metadata(self, metadata: Sequence[object]) -> None:
        pass


def room() -> MessageMemory:
    """Return room for many messages."""
    return MessageMemory(max_mib=64, all_mib=1024, max_wait_s=2, metrics=Metrics())


def call(rpc: str) -> Call:
    """Return a call in progress."""
    return Call(rpc, GrpcTransport(Caller()), room())


def served(gateway: Gateway, calls: Calls, rpc: str, request: Message, caller: Caller | None = None) -> bytes:
    """Return the answer of the table of handlers to one request, as it is sent; empty if the call failed."""
    details = HandlerCallDetails(f"/{SERVICE}/{rpc}", ())
    handler = handlers(gateway, calls, Streams(Metrics(), 1)).service(details)
    caller = caller or Caller()
    caller.message = request.SerializeToString()
    answer: bytes | None = asyncio.run(handler.stream_unary(None, caller))
    return answer or b""


class HandlerCallDetails(NamedTuple):
    """What gRPC tells of a call before anything is received."""

    method: str
    invocation_metadata: tuple[()]


def sound(seconds: float, source: str = "", seed: int = 0) -> pb.Item:
    """Return a recording as a client sends it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, seed), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return pb.Item(audio=buffer.getvalue(), source=source)
