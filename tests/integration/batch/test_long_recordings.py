"""A long recording, by the command: two workers at once, progress inside, the same bytes after any kills, one row."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from integration.jobs import AVIZOR, batch, command, eventually, gone, part_digests, query, start, workers
from support.sounds import SAMPLE_RATE, tone, write_long_wav

from avizor_pipeline.reporting.progress import LINE_EVERY_S

SECTIONS_OF_A_DAY = 21  # of 64 MiB, at 8 kHz and 16 bits


def records(out: Path) -> list[str]:
    return sorted(path.stem for path in (out / "sections").glob("*.json"))


def written(out: Path, sections: list[str]) -> dict[str, int]:
    """When the parts of these sections were written."""
    return {section: (out / "windows" / f"{section}.parquet").stat().st_mtime_ns for section in sections}


def busy(process: subprocess.Popen[str]) -> dict[psutil.Process, float]:
    """The workers of a job, and the seconds of processor time of each."""
    found = {}
    for each in workers(process):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "spawn_main" in " ".join(each.cmdline()):
                found[each] = sum(each.cpu_times()[:2])
    return found


def verified(out: Path) -> bool:
    return subprocess.run([AVIZOR, "verify", out], capture_output=True, check=False).returncode == 0


@pytest.mark.kill
def test_kills_within_a_long_recording_cost_what_was_not_finished_and_nothing_else(models: Path, tmp_path: Path) -> None:
    random.seed(13)
    # 74 sections of a MiB, since a fast machine does many of them between two kills.
    data = write_long_wav(tmp_path / "data" / "a" / "long.wav", seconds=1200)
    whole, out, kept, kills = tmp_path / "whole", tmp_path / "out", 0, 0
    result = batch(data.parent.parent, models, whole, "--shard-mib", "1")
    assert result.returncode == 0, result.stderr
    assert "1 file, " in result.stdout
    assert "in 74 shards" in result.stdout
    for victim in ("worker", "both", "parent", "worker", "both"):
        before = len(records(out))
        process = start(*command(data.parent.parent, models, out, "--shard-mib", "1"))
        assert eventually(lambda: len(records(out)) > before or process.poll() is not None)  # noqa: B023
        time.sleep(random.uniform(0, 0.1))
        done = written(out, records(out))
        if process.poll() is not None:  # this machine was too fast for five kills
            process.communicate()
            break
        kills += 1
        started = workers(process)
        for worker in list(busy(process))[:1] if victim == "worker" else []:
            worker.kill()
        if victim == "parent":
            process.kill()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert gone(started)
        kept = max(kept, len(done))
        again = [section for section in records(out) if section in done and written(out, [section]) != {section: done[section]}]
        assert not again
    done = written(out, records(out))
    result = batch(data.parent.parent, models, out, "--shard-mib", "1")
    assert result.returncode == 0, result.stderr
    assert kills > 1
    assert kept > 2
    assert part_digests(out) == part_digests(whole)
    assert {section: time for section, time in written(out, list(done)).items() if time == done[section]} == done
    assert verified(out)
    assert not (out / "sections").exists()


@pytest.mark.slow
def test_a_recording_of_a_day_keeps_two_workers_busy_and_is_resumed_inside(models: Path, tmp_path: Path) -> None:
    day = tmp_path / "data" / "a" / "day.wav"
    day.parent.mkdir(parents=True)
    minute = (tone(60) * 32767).astype("<i2").tobytes()
    size = len(minute) * 24 * 60
    header = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + bytes([16, 0, 0, 0, 1, 0, 1, 0])
    header += SAMPLE_RATE.to_bytes(4, "little") + (2 * SAMPLE_RATE).to_bytes(4, "little") + bytes([2, 0, 16, 0])
    with day.open("wb") as file:
        file.write(header + b"data" + size.to_bytes(4, "little"))
        for _ in range(24 * 60):
            file.write(minute)
    arguments = [
        str(AVIZOR),
        "batch",
        str(day),
        "--models",
        str(models),
        "--model",
        "normal",
        "--alpha",
        "0.05",
        "--workers",
        "2",
    ]

    whole, out = tmp_path / "whole", tmp_path / "out"
    process, times = start(*arguments, "--out", str(whole)), dict[psutil.Process, float]()
    assert eventually(lambda: bool(records(whole)) or process.poll() is not None, 600)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(LINE_EVERY_S)  # a line is due when the next section is done: a fast machine does the day in less
    os.killpg(process.pid, signal.SIGCONT)
    while process.poll() is None:
        try:
            times |= busy(process)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.2)
    _, progress = process.communicate()
    assert process.returncode == 0, progress
    print(f"\nseconds of the workers: {sorted(times.values())}\n{progress}")
    assert len(times) == 2
    assert min(times.values()) > 0.7 * max(times.values())
    assert re.search(r"avizor batch: 0\.\d\d/1 items, .* left", progress)

    for sections, victim in ((3, "worker"), (6, "both"), (10, "parent")):
        process = start(*arguments, "--out", str(out))
        assert eventually(lambda: len(records(out)) >= sections or process.poll() is not None, 600)  # noqa: B023
        if victim == "worker":
            next(iter(busy(process))).kill()
            assert eventually(lambda: len(records(out)) > sections, 600)  # noqa: B023 - the job goes on
        started = workers(process)
        process.kill() if victim == "parent" else os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert gone(started)
    done = written(out, records(out))
    assert 10 <= len(done) < SECTIONS_OF_A_DAY
    last = subprocess.run([*arguments, "--out", str(out)], capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert written(out, list(done)) == done
    assert part_digests(out) == part_digests(whole)
    windows = -(-24 * 3600 * SAMPLE_RATE // 4096)
    assert query(f"select count(*), sum(windows) from '{out}/recordings/*.parquet'") == [(1, windows)]
    assert query(f"select count(distinct start_sample) from '{out}/windows/*.parquet'") == [(windows,)]
    assert verified(out)
