"""`avizor watch -`: sound on standard input has the rows that it has in a file, as it comes."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from integration.jobs import AVIZOR
from integration.watching import Watch, free_port, parts, rows, sorted_windows, watch_command
from numpy.typing import NDArray
from support.calibrations import recalibrated
from support.sounds import SAMPLE_RATE, tone
from support.waiting import wait_until
from support.warm_starts import warm_run

RAW = ("--rate", str(SAMPLE_RATE))


def sound(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    return (tone(seconds, seed=seed) * 30000).astype("<i2")


def listened(models: Path, out: Path, data: bytes, *more: str) -> subprocess.CompletedProcess[str]:
    done = warm_run(watch_command("-", models, out, *more), input=data, text=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def batch(folder: Path, models: Path, out: Path) -> None:
    words = ("batch", folder, "--models", models, "--model", "normal", "--out", out, "--alpha", "0.05", "--workers", "1")
    warm_run([str(AVIZOR), *map(str, words)]).check_returncode()


def verify(out: Path) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), "verify", str(out)])


def test_rows_are_those_of_a_batch_job_over_the_same_samples_in_a_wav(models: Path, tmp_path: Path) -> None:
    samples = np.stack([sound(5.3, 1), sound(5.3, 2)], axis=1)
    (tmp_path / "wavs" / "a").mkdir(parents=True)
    soundfile.write(tmp_path / "wavs" / "a" / "0.wav", samples, 16000, subtype="PCM_16")
    batch(tmp_path / "wavs", models, tmp_path / "batch")
    data = samples.tobytes()
    more = ("--rate", "16000", "--input-channels", "2", "--source", "a")
    with Watch("-", models, tmp_path / "live", *more, stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        for start in range(0, len(data), 7001):  # no whole number of samples
            watch.process.stdin.write(data[start : start + 7001])
            watch.process.stdin.flush()
            if start > len(data) // 2 and not parts(tmp_path / "live", "windows"):
                wait_until(lambda: parts(tmp_path / "live", "windows") > 0)  # while the rest is to come
        watch.process.stdin.close()
        assert watch.process.wait(120) == 0, watch.log
    assert parts(tmp_path / "live", "windows") > 1
    assert sorted_windows(tmp_path / "live") == sorted_windows(tmp_path / "batch")
    columns = "* exclude (uri)"
    assert rows(tmp_path / "live", "recordings", columns) == rows(tmp_path / "batch", "recordings", columns)
    assert verify(tmp_path / "live").returncode == 0


def test_a_wav_as_a_recorder_writes_it_tells_what_its_samples_are(models: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, sound(1.0), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    untrue = bytearray(file.getvalue())
    place = untrue.index(b"data") + 4
    untrue[4:8] = untrue[place : place + 4] = (2**31 - 1).to_bytes(4, "little")  # arecord does not know the length
    for data, out in ((file.getvalue() + b"LIST", "true"), (bytes(untrue), "untrue")):
        done = listened(models, tmp_path / out, data)
        assert done.returncode == 0, done.stderr
        ((windows, peak),) = rows(tmp_path / out, "recordings", "windows, peak")
        assert windows == 2
        assert 0 < float(str(peak)) < 1


@pytest.mark.parametrize(
    ("data", "more", "said"),
    [
        (b"\0" * 4000, (), "standard input is no WAV file; say what its samples are with --rate"),
        (b"\0" * 4000, ("--rate", "3000000"), "a sample rate of 3000000 Hz; this model takes 1000 to"),
        (b"\0" * 4000, (*RAW, "--input-channels", "65"), "65 channels; sound has 1 to 64"),
        (b"\0" * 4000, (*RAW, "--channels", "1"), "calibration"),
        (b"RIFF\0\0\0\0AVI LIST", (), "begins as a RIFF file, and is no WAV"),
        (b"", ("--rate", "16000", "--format", "f32le"), "standard input ended before any sound came"),
        (np.array([np.nan, 0.1] * 9000, "<f4").tobytes(), (*RAW, "--format", "f32le"), "is not a finite number"),
    ],
)
def test_what_is_no_sound_ends_the_job_with_a_sentence(
    models: Path, tmp_path: Path, data: bytes, more: tuple[str, ...], said: str
) -> None:
    done = listened(models, tmp_path / "out", data, *more)
    assert done.returncode == bool(data)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "the end of the stream has no window" not in done.stderr  # nothing came before it
    assert rows(tmp_path / "out", "recordings", "uri") == []


def test_a_standard_input_that_is_closed_is_refused(models: Path, tmp_path: Path) -> None:
    words = ["bash", "-c", '"$@" <&-', "bash", *watch_command("-", models, tmp_path / "out", *RAW)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "standard input is closed; send sound through a pipe" in done.stderr) == (2, True), done.stderr


def test_a_standard_input_that_cannot_be_read_is_named(models: Path, tmp_path: Path) -> None:
    words = ["bash", "-c", '"$@" 0>/dev/null', "bash", *watch_command("-", models, tmp_path / "out", *RAW)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "standard input: bad file descriptor" in done.stderr) == (1, True), done.stderr


def test_an_end_within_a_sample_is_said_and_all_before_has_rows(models: Path, tmp_path: Path) -> None:
    done = listened(models, tmp_path / "out", sound(1.1).tobytes() + b"\1", *RAW)
    assert done.returncode == 0
    assert "standard input ended after 1 of the 2 bytes of a sample" in done.stderr
    # The last window is moved back to end with the sound.
    ((end,),) = rows(tmp_path / "out", "windows", "max(end_sample)")
    assert end == round(1.1 * SAMPLE_RATE)


def test_what_came_before_a_sample_that_is_no_number_has_rows(models: Path, tmp_path: Path) -> None:
    good = tone(1.1).astype("<f4")
    bad = np.array([np.inf, 0.1], "<f4")
    done = listened(models, tmp_path / "out", np.concatenate([good, bad]).tobytes(), *RAW, "--format", "f32le")
    assert done.returncode == 1
    assert f"sample {len(good)} of the recording (1.100 s after it began) is not a finite number; check --format" in done.stderr
    ((end,),) = rows(tmp_path / "out", "windows", "max(end_sample)")
    assert end == len(good)
    assert rows(tmp_path / "out", "recordings", "windows") == [(3,)]


def test_a_new_recording_begins_after_recording_s_and_with_each_run(models: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert listened(models, tmp_path / "out", sound(2.5).tobytes(), *RAW, "--recording-s", "1").returncode == 0
    found = rows(tmp_path / "out", "recordings", "uri, windows")
    assert [windows for _, windows in found] == [2, 2, 1] * 2
    assert len({uri for uri, _ in found}) == 6
    assert all(str(uri).startswith("default/2") for uri, _ in found)
    assert verify(tmp_path / "out").returncode == 0


def test_a_signal_ends_the_recording_and_nothing_that_came_is_lost(models: Path, tmp_path: Path) -> None:
    with Watch("-", models, tmp_path / "out", *RAW, "--every-s", "600", stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        watch.wait_for_log("watching standard input as source 'default'")
        watch.process.stdin.write(sound(1.1).tobytes())
        watch.process.stdin.flush()
        time.sleep(1)  # or the signal may come before the samples
        assert watch.stop() == 0, watch.log
    assert list(watch.recordings().values()) == [3]


def windows_of_sections(out: Path) -> int:
    return sum(json.loads(path.read_bytes())["windows"] for path in (out / "sections").glob("*.json"))


def test_what_was_written_before_a_kill_is_a_recording_of_the_next_run(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Watch("-", models, out, *RAW, stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        watch.process.stdin.write(sound(3.0).tobytes())
        watch.process.stdin.flush()
        wait_until(lambda: windows_of_sections(out) == 24000 // 4096)  # a part alone does not count, and nothing comes later
        watch.process.kill()
        watch.process.wait()
    written = rows(out, "windows", "start_sample")
    assert written
    assert rows(out, "recordings", "uri") == []
    assert verify(out).returncode == 1
    assert listened(models, out, b"", *RAW).returncode == 0
    assert rows(out, "windows", "start_sample") == written
    assert [windows for _, windows in rows(out, "recordings", "uri, windows")] == [len(written)]
    assert verify(out).returncode == 0


def test_a_calibration_that_is_activated_begins_a_new_recording(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "normal", tmp_path / "models" / "normal")
    out = tmp_path / "out"
    with Watch("-", tmp_path / "models", out, *RAW, stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        watch.process.stdin.write(sound(3.0).tobytes())
        watch.process.stdin.flush()
        wait_until(lambda: parts(out, "windows") > 0)
        new = recalibrated(tmp_path / "models", "normal")
        watch.wait_for_log(f"calibration {new} judges what comes from now on")
        wait_until(lambda: len(watch.recordings()) == 1)
        watch.process.stdin.write(sound(2.0).tobytes())
        watch.process.stdin.close()
        assert watch.process.wait(120) == 0, watch.log
    before, after = (id for _, id in rows(out, "recordings", "uri, calibration_id"))
    assert after == new != before
    assert {id for (id,) in rows(out, "windows", "distinct calibration_id")} == {before, new}
    assert verify(out).returncode == 0


def test_a_stream_from_which_nothing_comes_is_silent(models: Path, tmp_path: Path) -> None:
    port = free_port()
    more = (*RAW, "--source", "microphone", "--silent-after-s", "1", "--metrics-port", str(port))
    with Watch("-", models, tmp_path / "out", *more, stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        watch.wait_for_log("source 'microphone' is silent")
        assert watch.metric(port, 'avizor_watch_source_silent{source="microphone"}') == 1
        watch.process.stdin.write(sound(2.0).tobytes())
        watch.process.stdin.flush()
        watch.wait_for_log("source 'microphone' is back")
        wait_until(lambda: watch.metric(port, 'avizor_watch_stream_windows_total{source="microphone"}') > 0)
        watch.process.stdin.close()
        assert watch.process.wait(120) == 0
