"""`avizor watch` that is killed at any moment: no row is lost, and none is there twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration.jobs import AVIZOR, query
from integration.watching import Watch, counted_windows, rows
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.waiting import wait_until
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_pipeline.engine_wait import wait_line

FILES, KILLS = 60, 6


def verified(out: Path) -> str:
    return subprocess.run([str(AVIZOR), "verify", str(out)], capture_output=True, text=True, timeout=120, check=False).stdout


def begun(watch: Watch, rng: random.Random) -> None:
    """Return some seconds after the job has begun; sometimes before that."""
    if rng.random() < 0.8:
        wait_until(lambda: watch.has_begun)
    time.sleep(rng.uniform(0, 4))


@pytest.mark.kill
@pytest.mark.parametrize("seed", [1, 2])
def test_files_that_come_while_it_is_killed_again_and_again_have_each_row_once(models: Path, tmp_path: Path, seed: int) -> None:
    incoming, out, rng = tmp_path / "incoming", tmp_path / "out", random.Random(seed)
    incoming.mkdir()

    def arrive() -> None:
        for number in range(FILES):
            hidden = incoming / f".{number}.wav"
            write_wav(hidden, tone(3 * 4096 / SAMPLE_RATE, seed=number))
            hidden.rename(incoming / f"{number}.wav")
            time.sleep(0.4)

    coming = threading.Thread(target=arrive)
    coming.start()
    seen: set[Any] = set()
    for _ in range(KILLS):
        with Watch(incoming, models, out) as watch:
            begun(watch, rng)
            os.killpg(watch.process.pid, signal.SIGKILL)
            watch.process.wait()
        now = {uri for uri, _ in rows(out, "recordings", "uri, 1")}
        assert seen <= now  # what was there stays
        seen = now
    coming.join()
    with Watch(incoming, models, out) as watch:
        watch.wait_for(*(f"{number}.wav" for number in range(FILES)))
        assert watch.stop() == 0, watch.log
    assert watch.recordings() == {f"{number}.wav": 3 for number in range(FILES)}
    assert query(f"select count(*), count(distinct uri) from '{out}/recordings/*.parquet'") == [(FILES, FILES)]
    assert query(f"select count(*), count(distinct (uri, start_sample)) from '{out}/windows/*.parquet'") == [(3 * FILES,) * 2]
    assert "complete: planned = recordings + dead letters" in verified(out)


@pytest.mark.kill
@pytest.mark.parametrize("seed", [1, 2])
def test_a_stream_that_is_killed_again_and_again_keeps_what_was_written(models: Path, tmp_path: Path, seed: int) -> None:
    out, rng = tmp_path / "out", random.Random(seed)
    second = (tone(1.0) * 30000).astype("<i2").tobytes()
    seen: set[Any] = set()
    more = ("--rate", str(SAMPLE_RATE), "--recording-s", "4", "--every-s", "0.2")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    over = threading.Event()

    def speak() -> None:
        while not over.wait(0.1):
            with contextlib.suppress(BlockingIOError):  # nobody reads it now
                os.write(writing, second)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        for _ in range(KILLS):
            with Watch("-", models, out, *more, stdin=reading) as watch:
                begun(watch, rng)
                watch.process.kill()
                watch.process.wait()
            now = {*counted_windows(out)}
            assert seen <= now
            seen = now
    finally:
        over.set()
        speaker.join()
        os.close(writing)
    with Watch("-", models, out, *more, stdin=reading) as watch:
        assert watch.process.wait(120) in (0, 3), watch.log
    os.close(reading)
    assert seen
    assert "complete: planned = recordings + dead letters" in verified(out)
    assert seen <= {*counted_windows(out)}
    by_recording = f"select uri, list(start_sample order by start_sample) from '{out}/windows/*.parquet' group by uri"
    for uri, starts in query(by_recording):
        hops = np.diff(starts)
        assert (hops[:-1] == hops[0]).all(), uri  # the last one is moved back


@pytest.mark.kill
def test_a_recording_that_was_planned_and_has_no_rows_yet_is_a_dead_letter(models: Path, tmp_path: Path) -> None:
    out, more = tmp_path / "out", ("--rate", str(SAMPLE_RATE))
    with Watch("-", models, out, *more, stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        watch.process.stdin.write((tone(3.0) * 30000).astype("<i2").tobytes())
        watch.process.stdin.flush()
        wait_until(lambda: any((out / "sections").glob("*.json")))
        watch.process.kill()
        watch.process.wait()
    for record in (out / "sections").iterdir():  # as if it had been killed before the first of them
        record.unlink()
    with Watch("-", models, out, *more, stdin=subprocess.PIPE) as watch:
        assert watch.process.stdin
        watch.process.stdin.close()
        assert watch.process.wait(120) == 3, watch.log
    assert rows(out, "windows", "uri") == []
    ((message,),) = rows(out, "dead_letters", "message")
    assert "it ended before its first rows were written" in message
    assert "complete: planned = recordings + dead letters" in verified(out)


@pytest.mark.slow  # servers are started
def test_an_engine_that_is_away_for_a_while_costs_time_and_nothing_else(
    models: Path, triton_install: TritonInstall, tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    write_wav(incoming / "0.wav", tone(1.0))
    sound = (tone(2.0) * 30000).astype("<i2").tobytes()
    with TritonServer(triton_install, models) as triton:
        engine = ("--engine", f"triton://{triton.grpc_url}")
        rate = ("--rate", str(SAMPLE_RATE))
        with (
            Watch(incoming, models, tmp_path / "out", *engine) as folder,
            Watch("-", models, tmp_path / "heard", *engine, *rate, stdin=subprocess.PIPE) as stream,
        ):
            assert stream.process.stdin
            stream.process.stdin.write(sound)
            stream.process.stdin.flush()
            folder.wait_for("0.wav")
            wait_until(lambda: bool(rows(tmp_path / "heard", "windows", "uri")))
            triton.kill()
            write_wav(incoming / "1.wav", tone(1.0))
            stream.process.stdin.write(sound)
            stream.process.stdin.flush()
            for watch in (folder, stream):
                watch.wait_for_log(wait_line(True))
            write_wav(incoming / "2.wav", tone(1.0))
            triton.start()
            folder.wait_for("1.wav", "2.wav")
            for watch in (folder, stream):
                watch.wait_for_log("the engine is back")
            stream.process.stdin.close()
            assert stream.process.wait(120) == 0, stream.log
            assert folder.stop() == 0, folder.log
    assert list(stream.recordings().values()) == [8]
    assert folder.dead() == stream.dead() == set()
