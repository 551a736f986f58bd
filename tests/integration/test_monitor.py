"""Clients stream sound to the gateway, over real sockets and on both engines."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from integration.gateway import Gateway, Stub, refused, wav
from integration.listeners import calm, chunks, fault, listen, sixteen_bits, start
from support.sounds import SAMPLE_RATE

from avizor.v1 import inference_pb2 as pb

BOTH = {"classifier": "kinds", "detector": "normal", "source": "a"}


@pytest.mark.parametrize(("channels", "rate", "size"), [(1, SAMPLE_RATE, 1_001), (2, 11_025, 100_000)])
def test_windows_are_those_of_the_same_sound_in_a_file(stub: Stub, channels: int, rate: int, size: int) -> None:
    mono = calm(2.3)
    samples = mono if channels == 1 else np.stack([mono, fault(2.3)], axis=1)
    first = start(**BOTH, channels=channels, sample_rate=rate, top_k=3)
    started, windows, ended = listen(stub, first, chunks(samples, size))
    file = wav(sixteen_bits(samples), rate)
    item = pb.Item(source="a", audio=file)
    (verdict,) = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[item])).items
    (classes,) = stub.Classify(pb.ClassifyRequest(model="kinds", items=[item], top_k=3)).items
    assert [window.span for window in windows] == [window.span for window in verdict.windows]
    assert [window.score for window in windows] == pytest.approx([window.score for window in verdict.windows], rel=1e-4)
    assert [window.p_value for window in windows] == pytest.approx([window.p_value for window in verdict.windows])
    for window, expected in zip(windows, classes.windows, strict=True):
        assert [each.label for each in window.classes] == [each.label for each in expected.classes]
        probabilities = [each.probability for each in expected.classes]
        assert [each.probability for each in window.classes] == pytest.approx(probabilities, abs=1e-5)
    assert (started.classifier_version, started.detector_version, started.judged_by) == (1, 1, "a")
    assert (ended.windows, ended.samples) == (len(windows), len(samples))


def test_a_stretch_is_judged_and_counted_as_a_recording_and_a_fault_turns_the_alarm_on_and_off(
    served: Gateway, stub: Stub
) -> None:
    before = served.metrics()
    stretch_s = 3 * 4096 / SAMPLE_RATE
    sound = np.concatenate([calm(3 * stretch_s), fault(5 * stretch_s), calm(5 * stretch_s, seed=901), calm(0.3)])
    first = start(detector="normal", source="a", false_alarms_per_hour=20)
    started, windows, ended = listen(stub, first, chunks(sound, 4_000))
    assert (started.windows_per_stretch, started.stretches_to_alarm, started.stretches_to_clear) == (3, 4, 3)
    assert [started.stretch_s, started.alpha] == pytest.approx([stretch_s, 0.05])
    assert started.false_alarms_per_hour == pytest.approx(3600 / stretch_s / 31 / 4)
    assert 0 < started.false_alarms_per_hour_if_exchangeable < started.false_alarms_per_hour / 10
    judged = [window.stretch for window in windows if window.HasField("stretch")]
    assert [windows.index(window) % 3 for window in windows if window.HasField("stretch")] == [2] * 13
    assert [each.is_flagged for each in judged] == [False] * 3 + [True] * 5 + [False] * 5
    item = pb.Item(source="a", audio=wav(sixteen_bits(sound[: round(stretch_s * SAMPLE_RATE)])))
    (verdict,) = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[item])).items
    assert judged[0].score == pytest.approx(verdict.score, rel=1e-4)
    assert (judged[0].p_value, judged[0].judged_by) == (verdict.p_value, "a")
    changed = [(number // 3, window.alarm) for number, window in enumerate(windows) if window.alarm_changed]
    assert changed == [(6, True), (10, False)]  # the fourth flagged stretch, the third calm one
    assert [window.alarm for window in windows] == [False] * 20 + [True] * 12 + [False] * (len(windows) - 32)
    assert (ended.stretches, ended.flagged, ended.alarms) == (13, 5, 1)
    after = served.metrics()

    def counted(name: str) -> float:
        series = f'{name}{{model="normal",source="a"}}'
        return after[series] - before[series]

    assert counted("avizor_items_scored_total") == 13 + 1
    assert counted("avizor_anomalies_total") == 5
    assert counted("avizor_alarms_total") == 1
    ok = 'avizor_requests_total{code="OK",model="normal",rpc="Monitor"}'
    assert after[ok] == before.get(ok, 0) + 1
    assert after["avizor_streams"] == 0


def test_windows_come_while_the_client_still_sends(stub: Stub) -> None:
    said: list[str] = []

    def sound() -> Iterator[pb.MonitorRequest]:
        yield start(classifier="kinds")
        for _ in range(3):
            heard = len(said)
            yield from chunks(calm(4096 / SAMPLE_RATE), 1_500)
            while len(said) == heard:  # the next second is not sent before this one was answered
                pass

    for message in stub.Monitor(sound(), timeout=60):
        if message.WhichOneof("message") == "window":
            assert message.window.classes[0].label in ("low", "mid", "high")
            said.append(message.window.classes[0].label)
    assert len(said) == 3


def test_a_stream_without_a_whole_window_is_filled_up_as_a_file_is(stub: Stub) -> None:
    _, (window,), ended = listen(stub, start(**BOTH), chunks(calm(0.1), 999))
    assert (window.span.end_sample, window.p_value, ended.stretches) == (800, 0, 0)
    assert window.classes[0].probability > 0
    _, none, ended = listen(stub, start(**BOTH), [])
    assert (none, ended.windows) == ([], 0)


NAN = pb.MonitorRequest(pcm=np.full(5000, np.nan, "<f4").tobytes())
SILENCE = pb.MonitorRequest(pcm=bytes(20_000))


@pytest.mark.parametrize(
    ("messages", "code", "says"),
    [
        ([], "INVALID_ARGUMENT", "the first message of the stream holds no start"),
        ([SILENCE], "INVALID_ARGUMENT", "the first message of the stream holds no start"),
        ([pb.MonitorRequest()], "INVALID_ARGUMENT", "the first message of the stream holds no start"),
        ([start()], "INVALID_ARGUMENT", "name a classifier, a detector or both"),
        ([start(**BOTH), start(**BOTH)], "INVALID_ARGUMENT", "a message after the first one holds no pcm"),
        ([start(**BOTH), SILENCE, pb.MonitorRequest()], "INVALID_ARGUMENT", "a message after the first one holds no pcm"),
        ([start(**BOTH, format=77)], "INVALID_ARGUMENT", "format 77 is not known"),
        ([start(**BOTH, channel_mode=9)], "INVALID_ARGUMENT", "channel_mode 9 is not known"),
        ([start(**BOTH, channels=1000)], "INVALID_ARGUMENT", "the stream has 1000 channels; 1 to 64 are read"),
        ([start(**BOTH, channels=-5)], "INVALID_ARGUMENT", "the stream has -5 channels"),
        ([start(**BOTH, sample_rate=0)], "INVALID_ARGUMENT", "sample_rate is 0 Hz"),
        ([start(**BOTH, sample_rate=2**31 - 1)], "INVALID_ARGUMENT", "differ by more than a factor of 64"),
        ([start(**BOTH, top_k=-1)], "INVALID_ARGUMENT", "top_k -1 is below 0"),
        ([start(classifier="normal")], "INVALID_ARGUMENT", "made to reconstruct, and cannot classify"),
        ([start(classifier="digits")], "INVALID_ARGUMENT", "takes image, and a stream is audio"),
        ([start(detector="normal", detector_version=-1)], "INVALID_ARGUMENT", "version -1 is below 0"),
        ([start(detector="none")], "NOT_FOUND", "none"),
        ([start(**BOTH, alpha=2)], "INVALID_ARGUMENT", "alpha 2 is not between 0 and 1"),
        ([start(**BOTH, false_alarms_per_hour=-1)], "INVALID_ARGUMENT", "false_alarms_per_hour -1 is not a finite number"),
        ([start(**BOTH, false_alarms_per_hour=np.nan)], "INVALID_ARGUMENT", "false_alarms_per_hour nan"),
        ([start(**BOTH, alpha=0.001)], "FAILED_PRECONDITION", "needs at least 999 normal items"),
        ([start(**BOTH, false_alarms_per_hour=0.001)], "FAILED_PRECONDITION", "ask for 0.033 or more"),
        ([start(**BOTH, format=pb.PCM_FORMAT_F32LE), NAN], "INVALID_ARGUMENT", "is not a finite number"),
        ([start(**BOTH), pb.MonitorRequest(pcm=bytes(10_001))], "INVALID_ARGUMENT", "the stream ends after 1 of the 2 bytes"),
    ],
)
def test_wrong_clients_are_told_what_is_wrong(stub: Stub, messages: list[pb.MonitorRequest], code: str, says: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Monitor(iter(messages), timeout=60))
    actual, text = refused(caught.value)
    assert actual == code
    assert says in text


def test_any_bytes_are_sound_in_one_huge_chunk_too(stub: Stub) -> None:
    noise = np.random.default_rng(0).bytes(4 << 20)
    _, windows, ended = listen(stub, start(classifier="kinds", channels=8), [pb.MonitorRequest(pcm=noise)])
    assert (ended.samples, ended.windows) == ((4 << 20) // 16, len(windows))
    assert len(windows) == 8 * -(-ended.samples // 4096)
