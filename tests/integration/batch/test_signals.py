"""Signals, terminals and `timeout`: a job that is stopped reports it, pushes its exit code, and can be resumed."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from integration.jobs import (
    Sink,
    batch,
    command,
    committed,
    eventually,
    gone,
    part_digests,
    start,
    wait_for_first_shard,
    workers,
)

# Runs a command with standard input as its controlling terminal.
OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_all_of_its_processes_ends_a_job_that_can_be_resumed(
    many_recordings: Path,
    models: Path,
    sink: Sink,
    whole_run: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out, "--pushgateway", sink.address))
    wait_for_first_shard(out, process)
    started = workers(process)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"stopped by {number.name}; finished shards are kept: run the same command again to go on" in error
    assert "Traceback" not in error
    assert sink.codes == [code]
    assert gone(started)
    assert not list(out.rglob("*.tmp"))
    again = batch(many_recordings, models, out, "--pushgateway", sink.address)
    assert again.returncode == 0, again.stderr
    assert sink.codes == [code, 0]
    assert part_digests(out) == whole_run


def test_a_signal_ends_a_job_whose_decoder_hangs(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    """A worker that is busy is ended, and not waited for until its shard is done."""
    data, out = Path(shutil.copytree(few_recordings, tmp_path / "data")), tmp_path / "out"
    hanging = data / "a" / "0.wav"
    hanging.write_bytes(b"HANG")
    hostile = os.pathsep.join((str(Path(__file__).parents[2] / "support" / "hostile_files"), os.environ.get("PYTHONPATH", "")))
    process = subprocess.Popen(
        command(data, models, out, "--workers", "1"),
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": hostile},
    )  # fmt: skip
    assert eventually(lambda: len(workers(process)) >= 2)
    started = workers(process)
    assert eventually(lambda: any(each.cpu_times().user > 0.1 and each.status() == "sleeping" for each in started))
    time.sleep(1)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM" in error
    assert gone(started)


def test_a_terminal_that_goes_away_ends_a_job_and_that_is_pushed(
    many_recordings: Path, models: Path, sink: Sink, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    mine, its = pty.openpty()
    arguments = command(many_recordings, models, out, "--pushgateway", sink.address)
    process = subprocess.Popen([sys.executable, "-c", OWN_TERMINAL, *arguments], stdin=its, stdout=its, stderr=its, text=True)
    os.close(its)
    os.set_blocking(mine, False)

    def read() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(mine, 65536)
        return committed(out) > 0

    assert eventually(read)
    started = workers(process)
    os.close(mine)
    assert process.wait(timeout=30) == 129
    assert sink.codes == [129]
    assert gone(started)


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_after_the_start_is_pushed(
    few_recordings: Path, models: Path, sink: Sink, tmp_path: Path, number: signal.Signals
) -> None:
    """While it opens models, plans, starts workers, runs, adds up: the moments are spread over a whole job."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    options = ("--pushgateway", sink.address, "--metrics-port", str(port), "--workers", "1")
    process = start(*command(few_recordings, models, tmp_path / "whole", *options))
    assert eventually(listens)
    at = time.monotonic()
    assert process.wait(timeout=60) == 0
    lasts = time.monotonic() - at
    stopped = 0
    for part in range(8):
        sink.codes.clear()
        process = start(*command(few_recordings, models, tmp_path / str(part), *options))
        assert eventually(listens)
        time.sleep(lasts * part / 8)
        os.killpg(process.pid, number)
        _, error = process.communicate(timeout=30)
        if process.returncode == 0:  # too late: the machine was faster this time
            assert sink.codes == [0]
            continue
        stopped += 1
        assert process.returncode == 128 + number, error
        assert sink.codes in ([128 + number], [0, 128 + number])  # the last: success was being pushed
        assert "Traceback" not in error
        assert f"stopped by {number.name}" in error
    assert stopped  # the first at least: it is sent as soon as the job listens


def test_a_signal_while_success_is_pushed_is_pushed_after_it(
    few_recordings: Path, models: Path, sink: Sink, tmp_path: Path
) -> None:
    process = start(*command(few_recordings, models, tmp_path / "out", "--pushgateway", sink.address))

    def interrupt(code: int) -> None:
        if code == 0:
            process.send_signal(signal.SIGINT)
            time.sleep(1)  # with the answer still owed

    sink.on_push = interrupt
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert sink.codes == [0, 130]
    assert "Traceback" not in error


def test_a_second_signal_ends_a_job_at_once(many_recordings: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out, "--pushgateway", sink.address))

    def interrupt_again(code: int) -> None:
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(5)

    sink.on_push = interrupt_again
    wait_for_first_shard(out, process)
    started = workers(process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in error
    assert gone(started)


@pytest.mark.skipif(shutil.which("timeout") is None, reason="no coreutils")
def test_the_signal_that_timeout_sends_twice_is_one(many_recordings: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    """It goes to the process and then to its group: the second must not cut off what the first one asked for."""
    out = tmp_path / "out"
    process = start("timeout", "600", *command(many_recordings, models, out, "--pushgateway", sink.address))
    wait_for_first_shard(out, process)
    process.send_signal(signal.SIGTERM)  # `timeout` hands it on as it does when the time is over
    _, error = process.communicate(timeout=30)
    assert sink.codes == [143], error
