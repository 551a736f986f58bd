"""live/: silent sources, heads of WAV files, requests to stop, calibrations of rounds."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import tempfile
import time
from pathlib import Path

import pytest
from unit.pipeline.jobs import entry, settings

from avizor_inference.errors import MediaError
from avizor_pipeline.live import source_watch
from avizor_pipeline.live.pcm_input import PcmInput
from avizor_pipeline.live.source_watch import SourceWatch
from avizor_pipeline.live.stop_request import stop_requests
from avizor_pipeline.live.stream_recording import stream_entry
from avizor_pipeline.live.wav_head import PcmFormat, read_head
from avizor_pipeline.plan import plan_job
from avizor_pipeline.settings import PinnedCalibration
from avizor_pipeline.sharding import shards
from avizor_pipeline.sinks.rounds import last_calibrations, read_calibrations, read_round, store_round, write_round

PINS = (PinnedCalibration(model="normal", calibration_id="0123456789ab", tie=1e-5),)


def test_a_source_is_silent_once_and_back_once(caplog: pytest.LogCaptureFixture) -> None:
    said: list[tuple[str, bool | None]] = []
    watch = SourceWatch(0.05, ["expected"], lambda source, _, silent: said.append((source, silent)))
    watch.heard("pump")
    watch.check()
    assert said == [("expected", False), ("pump", False)]
    time.sleep(0.1)
    watch.check()
    watch.check()
    assert said[2:] == [("expected", True), ("pump", True)]
    watch.heard("pump")
    watch.check()
    assert said[4:] == [("pump", False)]
    assert caplog.text.count("source 'pump' is silent") == caplog.text.count("source 'pump' is back") == 1


def test_without_a_time_no_source_is_silent() -> None:
    watch = SourceWatch(None, ["a"], lambda source, at, silent: None if silent is False else pytest.fail(source))
    time.sleep(0.01)
    watch.check()


def test_of_too_many_sources_the_one_heard_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_watch, "MOST_SOURCES", 2)
    forgotten: list[str] = []
    watch = SourceWatch(1, ["a", "b"], lambda source, _, silent: forgotten.append(source) if silent is None else None)
    watch.heard("a")
    watch.heard("c")
    assert forgotten == ["b"]


def head(tag: int, bits: int, size: int, extra: bytes = b"") -> bytes:
    fmt = struct.pack("<HHIIHH", tag, 2, 44100, 44100 * bits // 4, bits // 4, bits) + extra
    return (
        b"\0\0\0\0WAVE" + b"LIST\3\0\0\0abc\0" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size)
    )


@pytest.mark.parametrize(
    ("data", "format", "length"),
    [
        (head(1, 16, 1000), "s16le", 1000),
        (head(3, 32, 0xFFFFFFFF), "f32le", None),
        (head(1, 16, 0), "s16le", None),
        (head(0xFFFE, 16, 0x7FFFFFFF, struct.pack("<HHIH", 22, 16, 3, 1) + bytes(14)), "s16le", None),
    ],
)
def test_a_head_tells_what_the_samples_are(data: bytes, format: str, length: int | None) -> None:
    file = io.BytesIO(data + b"samples")
    assert read_head(file.read) == (PcmFormat(format, 44100, 2), length)
    assert file.read() == b"samples"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (head(1, 24, 1000), "a WAV file of 24 bits"),
        (head(1, 16, 1000)[:30], "head is damaged"),
        (head(1, 16, 1000)[:20], "has no samples"),
        (b"\0\0\0\0WAVEdata\0\0\0\0", "has no samples"),
        (b"\0\0\0\0WAVEjunk\xff\xff\xff\x7f", "has no samples"),
        (b"", "is no WAV"),
    ],
)
def test_a_head_that_cannot_be_read_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(MediaError, match=said):
        read_head(io.BytesIO(data).read)


def test_a_pipe_of_any_chunks_gives_the_samples_of_its_wav_and_no_more() -> None:
    reading, writing = os.pipe()
    input = PcmInput(reading, None)
    for byte in b"RIFF" + head(1, 16, 6) + b"sampleLIST":
        os.write(writing, bytes([byte]))
    os.close(writing)
    data = b""
    while input.wait(10):
        data += input.take()
    os.close(reading)
    assert (data, input.ended, input.format, input.backlog) == (b"sample", True, PcmFormat("s16le", 44100, 2), 0)


def test_an_input_that_breaks_off_does_not_end_as_if_it_were_complete() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.send(b"?")  # which the other end does not read: so its end is a reset
        theirs.send(b"sample")
        theirs.close()
        input = PcmInput(ours.fileno(), PcmFormat("s16le", 16000, 1))
        data = b""
        while len(data) < 6 and input.wait(10):
            data += input.take()
        with pytest.raises(OSError, match="reset"):
            input.wait(10)
        assert (data, input.ended) == (b"sample", False)
        with pytest.raises(OSError, match="reset"):
            input.wait(10)


def test_a_head_that_contradicts_the_options_is_refused() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"RIFF" + head(1, 16, 6))
    os.close(writing)
    input = PcmInput(reading, PcmFormat("s16le", 16000, 1))
    with pytest.raises(MediaError, match="44100 Hz and 2 channels, and --format, --rate and --input-channels say something"):
        input.wait(10)
    os.close(reading)


def test_the_first_signal_is_a_request_and_a_later_one_does_what_it_did() -> None:
    def raise_stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, raise_stop)
    try:
        with stop_requests() as stop:
            assert not stop
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # some send it twice
            assert stop.number == signal.SIGTERM
            stop.at -= 1
            with pytest.raises(SystemExit):
                signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_round_names_its_calibrations_and_its_shards_have_them(tmp_path: Path) -> None:
    for number, pins in enumerate(((), PINS), start=1):
        with tempfile.TemporaryFile() as file:
            assert write_round(file, [entry(f"{number}.wav")], pins) == 1
            assert read_calibrations(file) == pins
            store_round(tmp_path, file, number)
    first, second = sorted((tmp_path / "rounds").iterdir())
    assert (read_calibrations(first), read_calibrations(second)) == ((), PINS)
    assert last_calibrations([first, second]) == PINS
    assert last_calibrations([]) == ()
    (shard,) = shards(settings(tmp_path), read_round(second), 2, PINS)
    (plain,) = shards(settings(tmp_path), read_round(second), 2)
    assert (shard.calibrations, plain.calibrations, shard.id) == (PINS, (), plain.id)


def test_a_batch_job_goes_on_with_the_calibrations_of_the_last_round(tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    out.mkdir()
    data.mkdir()
    (data / "0.wav").write_bytes(b"0")
    with tempfile.TemporaryFile() as file:
        write_round(file, [entry("elsewhere.wav")], PINS)
        store_round(out, file, 1)
    plan = plan_job(settings(data), out)
    assert plan.new
    assert read_calibrations(plan.new) == PINS


def test_recordings_of_a_stream_are_named_by_source_and_time() -> None:
    from datetime import UTC, datetime

    made = stream_entry("pump", datetime(2026, 11, 27, 16, 40, 12, 31415, UTC))
    assert made.uri == "pump/2026-11-27T16-40-12.031415Z.pcm"
    assert (made.source, made.size) == ("pump", 0)
