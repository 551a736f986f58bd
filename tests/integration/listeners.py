"""Speak Monitor as a client does: say what is sent, send PCM in chunks, gather what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from integration.gateway import Stub
from support.sounds import SAMPLE_RATE, tone

from avizor.v1 import inference_pb2 as pb


def start(**fields: Any) -> pb.MonitorRequest:
    return pb.MonitorRequest(start=pb.MonitorStart(**({"sample_rate": SAMPLE_RATE} | fields)))


def sixteen_bits(samples: np.ndarray) -> np.ndarray:
    integers: np.ndarray = np.round(np.clip(samples, -1, 0.999) * 32768).astype("<i2")
    return integers


def chunks(samples: np.ndarray, size: int) -> Iterator[pb.MonitorRequest]:
    """16-bit PCM in chunks of so many bytes."""
    data = sixteen_bits(samples).tobytes()
    for begin in range(0, len(data), size):
        yield pb.MonitorRequest(pcm=data[begin : begin + size])


def listen(
    stub: Stub, first: pb.MonitorRequest, sound: Iterable[pb.MonitorRequest]
) -> tuple[pb.MonitorStarted, list[pb.MonitoredWindow], pb.MonitorEnded]:
    """Send a whole stream, and return what was said of it."""
    messages = list(stub.Monitor(iter([first, *sound]), timeout=120))
    kinds = [message.WhichOneof("message") for message in messages]
    assert kinds == ["started", *["window"] * (len(kinds) - 2), "ended"]
    return messages[0].started, [message.window for message in messages[1:-1]], messages[-1].ended


def calm(seconds: float, seed: int = 900) -> np.ndarray:
    return tone(seconds, seed)


def fault(seconds: float) -> np.ndarray:
    return np.clip(0.3 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)), -1, 1)
