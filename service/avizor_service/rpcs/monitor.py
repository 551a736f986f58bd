"""Answer Monitor: listen to one source, and tell what each window of its sound is, and when there is an alarm.

A window is cut when its last sample has come, and answered before the next message is read. So a stream holds one message and a
few windows at a time, and a client that does not read has to stop sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array
from avizor_inference.errors import DeadlineExceeded, EngineUnavailable, InvalidInput, VersionNotLoaded
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.sound_stream import PcmEncoding, SoundStream
from avizor_inference.items.windows import Window, WindowFormat
from avizor_inference.repository.manifest import Task
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import OpenVersion
from avizor_service.gateway import Gateway
from avizor_service.stream_judge import StreamJudge, open_judge

# Windows of one stream that run at a time.
WINDOWS_AT_ONCE = 8

# An engine that takes longer than this for a few windows counts as away.
ENGINE_TIMEOUT_S = 30.0

_ENCODINGS: dict[int, PcmEncoding] = {
    pb.PCM_FORMAT_UNSPECIFIED: "s16le",
    pb.PCM_FORMAT_S16LE: "s16le",
    pb.PCM_FORMAT_F32LE: "f32le",
}


async def monitor(
    gateway: Gateway, requests: AsyncIterator[pb.MonitorRequest], call: Call
) -> AsyncGenerator[pb.MonitorResponse, None]:
    """Yield what is known of a stream: its start, each of its windows, and its end.

    Raises InvalidInput, MediaError for what cannot be read; CalibrationError if the detector cannot promise what is asked;
    EngineUnavailable, DeadlineExceeded; and what `requests` raises.
    """
    listener = await _open(gateway, await _start(requests), call)
    try:
        yield pb.MonitorResponse(started=listener.started())
        async for request in requests:
            if request.WhichOneof("message") != "pcm":
                raise InvalidInput(
                    "a message after the first one holds no pcm; start another stream to change the start", "pcm"
                )
            groups = listener.sound.push(request.pcm, WINDOWS_AT_ONCE)
            del request  # which has another copy of the sound
            async for response in _answers(listener, groups):
                yield response
        async for response in _answers(listener, listener.finish()):
            yield response
        yield pb.MonitorResponse(ended=listener.ended())
    finally:
        if listener.judge:
            listener.judge.close()


@dataclass
class _Listener:
    """Holds what one stream is listened to with. channels: windows at each place of the sound."""

    gateway: Gateway
    call: Call
    start: pb.MonitorStart
    sound: SoundStream
    classifier: OpenVersion | None
    detector: OpenVersion | None
    judge: StreamJudge | None
    windows: int = 0
    is_clipped: bool = False

    def started(self) -> pb.MonitorStarted:
        message = self.judge.started() if self.judge else pb.MonitorStarted()
        message.classifier_version = self.classifier.version.version if self.classifier else 0
        message.detector_version = self.detector.version.version if self.detector else 0
        return message

    def ended(self) -> pb.MonitorEnded:
        message = self.judge.ended() if self.judge else pb.MonitorEnded()
        message.windows, message.samples = self.windows, self.sound.frames
        return message

    def finish(self) -> Iterator[list[Window]]:
        """Yield the last windows. The one that is moved back, or filled up with zeros, belongs to no stretch."""
        if self.judge:
            self.judge.finish()
        return self.sound.finish(WINDOWS_AT_ONCE)

    async def answers(self, windows: list[Window]) -> list[pb.MonitoredWindow]:
        """Run some windows through the models, and return what is known of each."""
        model = self.detector or self.classifier
        assert model  # one is named
        rows = np.stack([window.samples for window in windows])
        spans = [Span(window.channel, window.start_sample, window.length) for window in windows]
        places = wire.span_messages(spans, model.manifest.input)
        probabilities, scores = await asyncio.gather(
            self._run(self.classifier, rows, "probabilities"), self._run(self.detector, rows, "score")
        )
        answers = [pb.MonitoredWindow(span=place) for place in places]
        if self.classifier and probabilities is not None:
            manifest = self.classifier.manifest
            classified = wire.classification_message(
                probabilities, places, manifest.labels or (), self.start.top_k, manifest.thresholds
            )
            for answer, each in zip(answers, classified.windows, strict=True):
                answer.classes.extend(each.classes)
        if self.judge and scores is not None:
            for answer, window, score in zip(answers, windows, scores[:, 0], strict=True):
                self.judge.judge(answer, window, float(score), is_short=window.length < rows.shape[-1])
        self.windows += len(windows)
        self.call.record.items = self.windows
        if self.judge:
            self.call.record.anomalies, self.call.record.alarms = self.judge.counts()
        self._note_clipped(model)
        return answers

    async def _run(self, model: OpenVersion | None, rows: Array, output: str) -> Array | None:
        if model is None:
            return None
        left = self.call.time_remaining_s()
        timeout_s = ENGINE_TIMEOUT_S if left is None else min(left, ENGINE_TIMEOUT_S)
        try:
            return (await self.gateway.inference.run_rows(model, rows, [output], timeout_s))[output]
        except VersionNotLoaded as error:  # its calibration and its stretches were those of that version
            raise VersionNotLoaded(
                f"version {model.version.version} of {model.version.name!r} is not loaded any more, so that this stream cannot "
                "go on; start another one: it uses the version that is served now"
            ) from error
        except DeadlineExceeded as error:
            if timeout_s < ENGINE_TIMEOUT_S:
                raise
            raise EngineUnavailable(f"the engine did not answer within {ENGINE_TIMEOUT_S:g} s; start again") from error

    def _note_clipped(self, model: OpenVersion) -> None:
        if self.sound.level.beyond and not self.is_clipped:
            self.is_clipped = True
            self.gateway.inference.note_clipped(model)


async def _answers(listener: _Listener, groups: Iterator[list[Window]]) -> AsyncIterator[pb.MonitorResponse]:
    for windows in groups:
        if not windows:
            await asyncio.sleep(0)  # a large message must not hold up the event loop
            continue
        for answer in await listener.answers(windows):
            yield pb.MonitorResponse(window=answer)


async def _start(requests: AsyncIterator[pb.MonitorRequest]) -> pb.MonitorStart:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("message") != "start":
        raise InvalidInput("the first message of the stream holds no start; say first what you will send", field="start")
    start = first.start
    if not start.classifier and not start.detector:
        raise InvalidInput("name a classifier, a detector or both", field="start.classifier")
    if start.format not in _ENCODINGS:
        raise InvalidInput(f"format {start.format} is not known; send S16LE or F32LE", field="start.format")
    if start.channel_mode not in pb.ChannelMode.values():
        raise InvalidInput(f"channel_mode {start.channel_mode} is not known; send EACH or MIX", field="start.channel_mode")
    if start.top_k < 0:
        raise InvalidInput(f"top_k {start.top_k} is below 0", field="start.top_k")
    return start


async def _open(gateway: Gateway, start: pb.MonitorStart, call: Call) -> _Listener:
    """Return what a start asks for. Raises InvalidInput, MediaError, CalibrationError, and what Catalogue.open raises."""
    call.record.note_source(start.source)
    detector = await _model(gateway, call, start.detector, start.detector_version, "reconstruct")
    classifier = await _model(gateway, call, start.classifier, start.classifier_version, "classify")
    formats = [_format(model) for model in (detector, classifier) if model]
    if len(set(formats)) > 1:
        raise InvalidInput(
            "the two models cut sound into different windows; start a stream for each of them", field="start.classifier"
        )
    if detector:
        call.model = detector.version.name
    mix = start.channel_mode == pb.CHANNEL_MODE_MIX
    sound = SoundStream(formats[0], _ENCODINGS[start.format], start.sample_rate, start.channels or 1, mix=mix)
    channels = 1 if formats[0].channels > 1 else sound.heard_channels
    judge = await open_judge(gateway, detector, start, formats[0], channels) if detector else None
    return _Listener(gateway, call, start, sound, classifier, detector, judge)


async def _model(gateway: Gateway, call: Call, name: str, version: int, task: Task) -> OpenVersion | None:
    """Return a model that a start names for a task; None if it names none."""
    if not name:
        return None
    field = "start.classifier" if task == "classify" else "start.detector"
    model = await gateway.opened(call, name, version, f"{field}_version")
    if model.manifest.task != task:
        raise InvalidInput(f"model {name!r} is made to {model.manifest.task}, and cannot {task}", field=field)
    if model.manifest.input.modality != "audio":
        raise InvalidInput(f"model {name!r} takes {model.manifest.input.modality}, and a stream is audio", field=field)
    return model


def _format(model: OpenVersion) -> WindowFormat:
    format = model.manifest.input.window_format()
    assert format  # it takes sound
    return format
