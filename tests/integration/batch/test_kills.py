"""Killed processes, and two jobs in one folder: nothing is lost, doubled or left running."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from integration.jobs import (
    Sink,
    batch,
    command,
    eventually,
    gone,
    one_sentence,
    part_digests,
    start,
    wait_for_first_shard,
    workers,
)

pytestmark = pytest.mark.kill


def test_a_job_whose_processes_are_all_killed_is_resumed_to_the_same_bytes(
    many_recordings: Path, models: Path, whole_run: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out))
    wait_for_first_shard(out, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = batch(many_recordings, models, out)
    assert again.returncode == 0, again.stderr
    assert "400 files" in again.stdout
    assert part_digests(out) == whole_run


def test_a_job_whose_processes_are_all_killed_leaves_nothing_in_shared_memory(
    many_recordings: Path, models: Path, tmp_path: Path
) -> None:
    process = start(*command(many_recordings, models, tmp_path / "out", "--workers", "2"))
    wait_for_first_shard(tmp_path / "out", process)
    every = [psutil.Process(process.pid), *workers(process)]
    assert len(every) >= 3
    used = {Path(each.path) for one in every for each in one.memory_maps() if each.path.startswith("/dev/shm/")}
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert [path for path in used if path.exists()] == []


def test_killing_the_parent_alone_ends_its_workers_and_the_same_command_resumes_at_once(
    many_recordings: Path, models: Path, whole_run: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out, "--workers", "2"))
    wait_for_first_shard(out, process)
    started = workers(process)
    assert len(started) >= 2
    process.kill()
    process.communicate()
    again = batch(many_recordings, models, out)
    assert again.returncode == 0, again.stderr
    assert "400 files" in again.stdout
    assert gone(started)
    assert part_digests(out) == whole_run
    assert not list(out.rglob("*.tmp"))


def test_workers_that_are_still_starting_end_with_their_parent(many_recordings: Path, models: Path, tmp_path: Path) -> None:
    process = start(*command(many_recordings, models, tmp_path / "out", "--workers", "2"))
    assert eventually(lambda: len(workers(process)) >= 3 or process.poll() is not None)
    started = workers(process)
    process.kill()
    process.communicate()
    assert gone(started)


def test_a_worker_that_is_killed_is_replaced_and_the_job_ends_with_the_same_bytes(
    many_recordings: Path, models: Path, sink: Sink, whole_run: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out, "--workers", "2", "--pushgateway", sink.address))
    wait_for_first_shard(out, process)
    started = workers(process)
    busy = max(started, key=lambda each: sum(each.cpu_times()[:2]))
    busy.kill()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert sink.codes == [0]
    assert gone(started)
    assert part_digests(out) == whole_run


def test_a_second_job_on_one_output_is_refused(
    many_recordings: Path, models: Path, sink: Sink, whole_run: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out, "--workers", "1"))
    wait_for_first_shard(out, process)
    process.send_signal(signal.SIGSTOP)  # or it may be over before the second one has begun
    dry = batch(many_recordings, models, out, "--dry-run")
    second = batch(many_recordings, models, out, "--pushgateway", sink.address)
    process.send_signal(signal.SIGCONT)
    for result in (dry, second):
        assert result.returncode == 1
        assert f"another job is running in {out} (process {process.pid} on {socket.gethostname()}, since 2" in result.stderr
        assert one_sentence(result.stderr)
    assert sink.codes == [1]
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert part_digests(out) == whole_run


def test_no_process_of_a_job_outlives_it(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    process = start(*command(few_recordings, models, tmp_path / "out"))
    seen: set[psutil.Process] = set()
    while process.poll() is None:
        try:
            seen |= set(workers(process))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    assert process.wait() == 0
    assert seen
    assert gone(list(seen))
