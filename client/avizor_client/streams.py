"""Hold what a stream of Monitor sends and says, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_client import reading
from avizor_client.answers import Array, MonitoredWindow, MonitorEnded, MonitorStarted
from avizor_client.errors import CUT_SHORT, InputError, bad_answer

PcmFormat = Literal["s16le", "f32le"]
Chunk = bytes | Array

_FORMATS: dict[PcmFormat, tuple[pb.PcmFormat, str]] = {
    "s16le": (pb.PCM_FORMAT_S16LE, "<i2"),
    "f32le": (pb.PCM_FORMAT_F32LE, "<f4"),
}
_MESSAGE_BYTES = 1 << 20  # of sound in one message


@dataclass(frozen=True)
class MonitorSettings:
    """Says what listens to a stream, and how. At least one of classifier and detector is named.

    sample_rate: Hz. false_alarms_per_hour: largest expected number; 0: one. alpha: share of normal stretches that are flagged;
    0: the gateway's. See MonitorStart of inference.proto for the rest.
    """

    sample_rate: int
    classifier: str = ""
    classifier_version: int = 0
    detector: str = ""
    detector_version: int = 0
    source: str = ""
    format: PcmFormat = "s16le"
    channels: int = 1
    mix_channels: bool = False
    false_alarms_per_hour: float = 0.0
    top_k: int = 0
    alpha: float = 0.0
    assume_exchangeable: bool = False

    def start(self) -> pb.MonitorRequest:
        """Return the first message of the stream."""
        start = pb.MonitorStart(
            classifier=self.classifier,
            classifier_version=self.classifier_version,
            detector=self.detector,
            detector_version=self.detector_version,
            source=self.source,
            format=_FORMATS[self.format][0],
            sample_rate=self.sample_rate,
            channels=self.channels,
            channel_mode=pb.CHANNEL_MODE_MIX if self.mix_channels else pb.CHANNEL_MODE_UNSPECIFIED,
            false_alarms_per_hour=self.false_alarms_per_hour,
            top_k=self.top_k,
            alpha=self.alpha,
            assume_exchangeable=self.assume_exchangeable,
        )
        return pb.MonitorRequest(start=start)

    def messages(self, chunk: Chunk) -> Iterator[pb.MonitorRequest]:
        """Yield the messages of a chunk: bytes in the format of the stream, or an array. Raises InputError."""
        data = chunk if isinstance(chunk, bytes) else self._data(np.asarray(chunk))
        for begin in range(0, len(data), _MESSAGE_BYTES):
            yield pb.MonitorRequest(pcm=data[begin : begin + _MESSAGE_BYTES])

    def _data(self, samples: Array) -> bytes:
        wanted = np.dtype(_FORMATS[self.format][1])
        channels = samples.shape[1] if samples.ndim == 2 else 1
        if samples.ndim not in (1, 2) or samples.dtype.name != wanted.name or (samples.ndim == 2 and channels != self.channels):
            raise InputError(
                f"a chunk is {samples.dtype.name}{list(samples.shape)}; {self.format} with {self.channels} channels "
                f"takes {wanted.name}[samples] or {wanted.name}[samples, {self.channels}]"
            )
        return np.ascontiguousarray(samples, wanted).tobytes()


class Heard:
    """What a gateway has said of a stream so far."""

    def __init__(self) -> None:
        self.started: MonitorStarted | None = None
        self.ended: MonitorEnded | None = None

    @reading.understood()
    def take(self, response: Any) -> MonitoredWindow | None:
        """Take a message, and return the window that it has; None for another message. Raises BadAnswer.

        response: None if the stream has ended.
        """
        if response is None:
            raise bad_answer(CUT_SHORT)
        name = response.WhichOneof("message")
        if name == "started":
            self.started = reading.monitor_started(response.started)
        elif name == "ended":
            self.ended = reading.monitor_ended(response.ended)
        if self.started is None:
            raise bad_answer("the stream has begun without its first message")
        if name == "window":
            return reading.monitored_window(response.window)
        return None
