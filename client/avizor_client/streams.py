"""Hold what a stream of Monitor sends and says, without any network."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_client import reading
from avizor_client.answers import Array, MonitoredWindow, MonitorEnded, MonitorStarted, Span
from avizor_client.errors import CUT_SHORT, InputError, bad_answer

PcmFormat = Literal["s16le", "f32le"]
Chunk = bytes | Array

_FORMATS: dict[PcmFormat, tuple[pb.PcmFormat, str]] = {
    "s16le": (pb.PCM_FORMAT_S16LE, "<i2"),
    "f32le": (pb.PCM_FORMAT_F32LE, "<f4"),
}
_MESSAGE_BYTES = 1 << 20  # of sound in one message
_ROUNDED_S = 1.0  # by which a window may begin after the sound that was sent, at the rate of the model


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

    def bytes_a_second(self) -> int:
        """Return how many bytes a second of the sound has."""
        return self.sample_rate * max(1, self.channels) * np.dtype(_FORMATS[self.format][1]).itemsize

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


class Patience:
    """Gives up on a gateway that says nothing for `timeout_s` while it owes something, and is waited for.

    It owes the first message, to take what is sent, and each further message after the end of the sound.
    """

    def __init__(self, timeout_s: float, give_up: Callable[[], object]) -> None:
        """give_up: called in a thread of its own, when `is_out` is true."""
        self.is_out = False
        self._timeout_s, self._give_up = min(timeout_s, threading.TIMEOUT_MAX), give_up
        self._lock, self._over = threading.Lock(), threading.Event()
        self._facts = {"waits": False, "begun": False, "sends": False, "sent": False}
        self._since: float | None = None  # when it was owed and waited for
        threading.Thread(target=self._watch, name="avizor-patience", daemon=True).start()

    def note(self, **facts: bool) -> None:
        """Take note of what is so from now on.

        waits: for a message. begun: the first one has come. sends: something is to be taken. sent: the sound has ended.
        """
        with self._lock:
            self._facts |= facts
            now = self._facts
            is_owed = now["waits"] and (now["sends"] or now["sent"] or not now["begun"])
            self._since = (self._since or time.monotonic()) if is_owed else None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for a message."""
        self.note(waits=True)
        try:
            yield
        finally:
            self.note(waits=False)

    def end(self) -> None:
        """Wait for nothing more."""
        self._over.set()

    def _watch(self) -> None:
        left = self._timeout_s
        while not self._over.wait(left):
            since = self._since
            left = self._timeout_s - (time.monotonic() - since if since else 0.0)
            if left <= 0:
                self.is_out = True
                self._give_up()
                return


class Heard:
    """What a gateway has said of a stream so far."""

    def __init__(self, settings: MonitorSettings) -> None:
        self.started: MonitorStarted | None = None
        self.ended: MonitorEnded | None = None
        self._bytes, self._bytes_a_second = 0, settings.bytes_a_second()
        self._ends: dict[int, int] = {}  # of the last window, by channel

    def note_sent(self, message: pb.MonitorRequest) -> None:
        """Take note of sound that is sent: a gateway owes the windows of it, and no more."""
        self._bytes += len(message.pcm)

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
            window = reading.monitored_window(response.window)
            self._check(window.span)
            return window
        return None

    def _check(self, span: Span) -> None:
        if span.end_sample <= self._ends.get(span.channel, -1):
            raise bad_answer("a window is not later than the one before")
        if (span.start_s - _ROUNDED_S) * self._bytes_a_second > self._bytes:
            raise bad_answer("a window is of sound that was not sent")
        self._ends[span.channel] = span.end_sample
