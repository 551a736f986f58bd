"""A real gateway over an embedded engine for the unit tests of the RPCs, called without a server."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
import soundfile
from support.sounds import SAMPLE_RATE, tone

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository
from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue
from avizor_service.gateway import Gateway
from avizor_service.inference import Inference
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings
from avizor_service.threads import open_threads


@contextlib.contextmanager
def open_gateway(models: Path, metrics: Metrics | None = None, **changes: Any) -> Iterator[Gateway]:
    """Yield the parts of a gateway. Its alpha is 0.05, which 30 recordings of a source support."""
    metrics = metrics or Metrics()
    settings = Settings(models, **({"alpha": 0.05} | changes))
    with EmbeddedEngine(models) as engine, open_threads(settings.decoders, 2) as threads:
        catalogue = Catalogue(ModelRepository(models), engine)
        anomaly_metrics = AnomalyMetrics(metrics, BoundedSources(settings.sources), settings.alpha)
        anomaly_metrics.start(catalogue.calibrations())
        inference = Inference(engine, threads, metrics, settings.max_windows, settings.max_answer_mib)
        yield Gateway(settings, catalogue, inference, anomaly_metrics, threads)


class Aborted(Exception):
    """What ends a call that was aborted."""


@dataclass
class Caller:
    """The context of a call from this process: a caller without a network, who sets no deadline.

    ended: the status and the message of a call that was aborted.
    """

    ended: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)

    def time_remaining(self) -> float | None:
        return None

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Sequence[object]) -> NoReturn:
        self.ended.append((code, details))
        raise Aborted(details)


def call(rpc: str) -> Call:
    """Return a call in progress."""
    return Call(rpc, Caller())


def sound(seconds: float, source: str = "", seed: int = 0) -> pb.Item:
    """Return a recording as a client sends it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, seed), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return pb.Item(audio=buffer.getvalue(), source=source)
