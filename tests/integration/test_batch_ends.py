"""However a batch job ends, a sentence says why, it is pushed, and the same command goes on: real processes, signals, disks."""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from integration.jobs import (
    Sink,
    batch,
    command,
    committed,
    eventually,
    gone,
    part_digests,
    pushgateway,
    workers,
)
from support.sounds import SAMPLE_RATE, tone, write_wav

# Runs a command with standard input as its controlling terminal.
OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 recordings: seven shards, some seconds of work."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(400):
        write_wav(folder / "a" / f"{number:03d}.wav", tone(6 * 4096 / SAMPLE_RATE, seed=number))
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of one source."""
    folder = tmp_path_factory.mktemp("few")
    for number in range(3):
        write_wav(folder / "a" / f"{number}.wav", tone(1.0, seed=number))
    return folder


@pytest.fixture(scope="module")
def whole(many: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what a run over `many` writes that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert batch(many, models, out).returncode == 0
    return part_digests(out)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with pushgateway() as sink:
        yield sink


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def begun(out: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the first shard is there, and not the last."""
    assert eventually(lambda: committed(out) > 0 or process.poll() is not None)
    assert 0 < committed(out) < 7, "the job was not met in its midst"


def listing(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def one_sentence(text: str) -> bool:
    """Whether a log ends in one line of error, with no traceback before it."""
    return text.rstrip().splitlines()[-1].startswith("Error: ") and "Traceback" not in text


def taken_port() -> str:
    held = socket.create_server(("127.0.0.1", 0))
    taken_port.held = held  # type: ignore[attr-defined]
    return str(held.getsockname()[1])


@pytest.mark.parametrize(
    ("data", "options", "code", "message"),
    [
        ("nowhere", [], 1, "nowhere does not exist"),
        ("empty", [], 1, "no audio files"),
        ("few", ["--models", "nowhere"], 1, "is not a folder"),
        ("few", ["--model", "gone"], 1, "no model 'gone'"),
        ("few", ["--alpha", "0.001"], 1, "needs at least 999 normal recordings"),
        ("few", ["--alpha", "7"], 1, "--alpha 7 is not between 0 and 1"),
        ("few", ["--engine", "triton://127.0.0.1:1"], 1, "is away"),
        ("few", ["--engine", "tensorrt"], 1, "engine 'tensorrt' is not known"),
        ("few", ["--out", "file"], 1, "file is not a folder; choose another --out"),
        ("few", ["--out", "/proc/x"], 1, "/proc/x cannot be written"),
        ("few", ["--out", "foreign"], 1, "foreign is not empty and holds no job of avizor"),
        ("few", ["--metrics-port", "taken"], 1, "address already in use; stop the other process or choose another"),
        ("few", ["--workers", "0"], 2, "0 is not in the range"),
        ("few", ["--no-such-option"], 2, "No such option"),
    ],
)
def test_a_failure_is_pushed_and_a_dry_run_ends_alike_and_changes_nothing(
    few: Path, models: Path, sink: Sink, tmp_path: Path, data: str, options: list[str], code: int, message: str
) -> None:
    for folder in ("empty", "foreign"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "foreign" / "thesis.txt").touch()
    options = [str(tmp_path / each) if each in ("nowhere", "file", "foreign") else each for each in options]
    options = [taken_port() if each == "taken" else each for each in options]
    source = few if data == "few" else tmp_path / data
    options += ["--pushgateway", sink.address, "--push-job", "night"]
    before = listing(tmp_path)
    dry = batch(source, models, tmp_path / "out", *options, "--dry-run")
    assert listing(tmp_path) == before
    assert sink.codes == []
    run = batch(source, models, tmp_path / "out", *options)
    assert (run.returncode, run.stderr) == (dry.returncode, dry.stderr)
    assert run.returncode == code
    assert message in run.stderr
    assert one_sentence(run.stderr)
    assert (sink.codes, sink.paths) == ([code], ["/metrics/job/night"])


def test_a_push_that_fails_does_not_hide_why_the_job_failed(few: Path, models: Path, tmp_path: Path) -> None:
    result = batch(few, models, tmp_path / "out", "--model", "gone", "--pushgateway", "127.0.0.1:1")
    assert result.returncode == 1
    assert "Warning: exit code 1 could not be pushed to 127.0.0.1:1" in result.stderr
    assert "no model 'gone'" in result.stderr
    assert one_sentence(result.stderr)
    for address in ("127.0.0.1:port", "ftp://host:9091", ":9091"):
        result = batch(few, models, tmp_path / "out", "--pushgateway", address)
        assert result.returncode == 1
        assert f"--pushgateway {address} is not an address; write HOST:PORT" in result.stderr


def test_a_success_is_pushed_with_its_figures(few: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    data = Path(shutil.copytree(few, tmp_path / "data"))
    write_wav(data / "a" / "short.wav", tone(0.1))
    result = batch(data, models, tmp_path / "out", "--pushgateway", sink.address, "--push-job", "night")
    assert result.returncode == 0, result.stderr
    assert (sink.codes, sink.paths) == ([0], ["/metrics/job/night"])
    assert "avizor_batch_files_total 4.0" in sink.texts[0]
    assert 'avizor_batch_anomalies{model="normal",source="a"} ' in sink.texts[0]
    assert 'avizor_batch_recordings{model="normal",source="a"} 3.0' in sink.texts[0]
    assert 'avizor_batch_recordings_not_judged{model="normal",source="a"} 1.0' in sink.texts[0]
    away = batch(few, models, tmp_path / "other", "--pushgateway", "127.0.0.1:1")
    assert away.returncode == 1
    assert "the job is done, but its outcome could not be pushed" in away.stderr
    assert one_sentence(away.stderr)
    assert part_digests(tmp_path / "other").keys() == {
        str(Path(folder, path.name)) for folder in ("windows", "recordings") for path in (tmp_path / "other" / folder).iterdir()
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_all_of_its_processes_ends_a_job_that_can_be_gone_on_with(
    many: Path, models: Path, sink: Sink, whole: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    process = start(*command(many, models, out, "--pushgateway", sink.address))
    begun(out, process)
    started = workers(process)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"stopped by {number.name}; finished shards are kept: run the same command again to go on" in error
    assert "Traceback" not in error
    assert sink.codes == [code]
    assert gone(started)
    assert not list(out.rglob("*.tmp"))
    again = batch(many, models, out, "--pushgateway", sink.address)
    assert again.returncode == 0, again.stderr
    assert sink.codes == [code, 0]
    assert part_digests(out) == whole


def test_a_terminal_that_goes_away_ends_a_job_and_that_is_pushed(many: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine, its = pty.openpty()
    arguments = command(many, models, out, "--pushgateway", sink.address)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_after_the_start_is_pushed(
    few: Path, models: Path, sink: Sink, tmp_path: Path, number: signal.Signals
) -> None:
    """While it opens models, plans, starts workers, runs, adds up: the moments are spread over a whole job."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    options = ("--pushgateway", sink.address, "--metrics-port", str(port), "--workers", "1")
    process = start(*command(few, models, tmp_path / "whole", *options))
    assert eventually(listens)
    at = time.monotonic()
    assert process.wait(timeout=60) == 0
    lasts = time.monotonic() - at
    stopped = 0
    for part in range(8):
        sink.codes.clear()
        process = start(*command(few, models, tmp_path / str(part), *options))
        assert eventually(listens)
        time.sleep(lasts * part / 8)
        os.killpg(process.pid, number)
        _, error = process.communicate(timeout=30)
        if process.returncode == 0:  # too late: the machine was faster this time
            assert sink.codes == [0]
            continue
        stopped += 1
        assert process.returncode == 128 + number, error
        assert sink.codes == [128 + number]
        assert "Traceback" not in error
        assert f"stopped by {number.name}" in error
    assert stopped  # the first at least: it is sent as soon as the job listens


def test_a_signal_while_success_is_pushed_is_pushed_after_it(few: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    process = start(*command(few, models, tmp_path / "out", "--pushgateway", sink.address))

    def interrupt(code: int) -> None:
        if code == 0:
            process.send_signal(signal.SIGINT)
            time.sleep(1)  # with the answer still owed

    sink.on_push = interrupt
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert sink.codes == [0, 130]
    assert "Traceback" not in error


def test_a_second_signal_ends_a_job_at_once(many: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(*command(many, models, out, "--pushgateway", sink.address))

    def interrupt_again(code: int) -> None:
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(5)

    sink.on_push = interrupt_again
    begun(out, process)
    started = workers(process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in error
    assert gone(started)


@pytest.mark.skipif(shutil.which("timeout") is None, reason="no coreutils")
def test_the_signal_that_timeout_sends_twice_is_one(many: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    """It goes to the process and then to its group: the second must not cut off what the first one asked for."""
    out = tmp_path / "out"
    process = start("timeout", "600", *command(many, models, out, "--pushgateway", sink.address))
    begun(out, process)
    process.send_signal(signal.SIGTERM)  # `timeout` hands it on as it does when the time is over
    _, error = process.communicate(timeout=30)
    assert sink.codes == [143], error


def test_killing_the_parent_alone_ends_its_workers_and_the_same_command_goes_on_at_once(
    many: Path, models: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many, models, out, "--workers", "2"))
    begun(out, process)
    started = workers(process)
    assert len(started) >= 2
    process.kill()
    process.communicate()
    again = batch(many, models, out)
    assert again.returncode == 0, again.stderr
    assert "400 files" in again.stdout
    assert gone(started)
    assert part_digests(out) == whole
    assert not list(out.rglob("*.tmp"))


def test_workers_that_are_still_starting_end_with_their_parent(many: Path, models: Path, tmp_path: Path) -> None:
    process = start(*command(many, models, tmp_path / "out", "--workers", "2"))
    assert eventually(lambda: len(workers(process)) >= 3 or process.poll() is not None)
    started = workers(process)
    process.kill()
    process.communicate()
    assert gone(started)


def test_a_worker_that_is_killed_ends_the_job_with_a_sentence(
    many: Path, models: Path, sink: Sink, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many, models, out, "--workers", "2", "--pushgateway", sink.address))
    begun(out, process)
    started = workers(process)
    busy = max(started, key=lambda each: sum(each.cpu_times()[:2]))
    busy.kill()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "a worker process died (out of memory, or a fault in a decoder); finished shards are kept" in error
    assert one_sentence(error)
    assert sink.codes == [1]
    assert gone(started)
    assert batch(many, models, out).returncode == 0
    assert part_digests(out) == whole


def test_a_second_job_on_one_output_is_refused(
    many: Path, models: Path, sink: Sink, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(*command(many, models, out, "--workers", "1"))
    begun(out, process)
    process.send_signal(signal.SIGSTOP)  # or it may be over before the second one has begun
    dry = batch(many, models, out, "--dry-run")
    second = batch(many, models, out, "--pushgateway", sink.address)
    process.send_signal(signal.SIGCONT)
    for result in (dry, second):
        assert result.returncode == 1
        assert f"another job is at work in {out} (process {process.pid} on {socket.gethostname()}, since 2" in result.stderr
        assert one_sentence(result.stderr)
    assert sink.codes == [1]
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert part_digests(out) == whole


def truncate(out: Path) -> None:
    part = sorted((out / "windows").iterdir())[0]
    os.truncate(part, part.stat().st_size // 2)


def remove(out: Path) -> None:
    sorted((out / "recordings").iterdir())[0].unlink()


def alter(out: Path) -> None:
    part = sorted((out / "windows").iterdir())[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    times = part.stat()
    part.write_bytes(content)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))


def empty_commit(out: Path) -> None:
    os.truncate(sorted((out / "commits").iterdir())[0], 0)


def swap_commits(out: Path) -> None:
    first, second = sorted((out / "commits").iterdir())[:2]
    shutil.copy(first, second)


def alter_figures(out: Path) -> None:
    record = sorted((out / "commits").iterdir())[0]
    record.write_text(record.read_text().replace('"files":64', '"files":63'))


def part_is_a_pipe(out: Path) -> None:
    part = sorted((out / "windows").iterdir())[0]
    part.unlink()
    os.mkfifo(part)


def commit_is_a_pipe(out: Path) -> None:
    record = sorted((out / "commits").iterdir())[0]
    record.unlink()
    os.mkfifo(record)


@pytest.fixture(scope="module")
def finished(many: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    assert batch(many, models, out).returncode == 0
    return out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is not what was written"),
        (remove, "cannot be read (no such file or directory)"),
        (alter, "is not what was written"),
        (empty_commit, "cannot be read"),
        (swap_commits, "is not the record of its shard"),
        (alter_figures, ".json is not what was written"),
        (part_is_a_pipe, ".parquet is not a file"),
        (commit_is_a_pipe, ".json is not a file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_shard_that_was_damaged_after_its_commit_is_found_and_done_again(
    finished: Path, many: Path, models: Path, whole: dict[str, str], damage: Callable[[Path], None], message: str
) -> None:
    damage(finished)
    before = listing(finished)
    dry = batch(many, models, finished, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert listing(finished) == before
    assert "6 shards are finished" in dry.stdout
    assert f"{message}" in dry.stdout
    assert "its files would be done again" in dry.stdout
    again = batch(many, models, finished)
    assert again.returncode == 0, again.stderr
    assert message in again.stderr
    assert "the files of damaged shards are done again (1 shards)" in again.stderr
    assert "400 files" in again.stdout
    assert part_digests(finished) == whole


def test_files_that_vanish_while_a_job_runs_are_not_lost_in_silence(
    many: Path, models: Path, sink: Sink, tmp_path: Path
) -> None:
    data, out = Path(shutil.copytree(many, tmp_path / "data")), tmp_path / "out"
    away = sorted(path for path in data.rglob("*.wav"))[-1]
    process = start(*command(data, models, out, "--pushgateway", sink.address, "--workers", "1"))
    assert eventually((out / "listing.parquet").exists)
    away.rename(tmp_path / "away.wav")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1, error
    assert "files were moved, changed or removed while the job ran: 1 of its 7 shards are not done" in error
    assert sink.codes == [1]
    (tmp_path / "away.wav").rename(away)
    again = batch(data, models, out)
    assert again.returncode == 0, again.stderr
    assert "400 files" in again.stdout


def test_a_name_of_the_output_that_is_not_utf8_is_refused_by_both(few: Path, models: Path, tmp_path: Path) -> None:
    for more in ((), ("--dry-run",)):
        result = batch(few, models, tmp_path / os.fsdecode(b"bad\xff"), *more)
        assert result.returncode == 1
        assert "bad%FF, is not UTF-8; choose another one" in result.stderr
        assert one_sentence(result.stderr)


def test_a_job_whose_output_nobody_reads_ends_as_well(few: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    line = shlex.join([*command(few, models, tmp_path / "out", "--pushgateway", sink.address)])
    assert subprocess.run(["sh", "-c", f"{line} >&-"], timeout=60, check=False).returncode == 0
    assert sink.codes == [0]


def test_a_pushgateway_that_drips_its_answer_is_not_waited_for(few: Path, models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                for number in range(60):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n" if not number else b"X: y\r\n")
                    time.sleep(1)

        threading.Thread(target=drip, daemon=True).start()
        result = batch(few, models, tmp_path / "out", "--pushgateway", f"127.0.0.1:{server.getsockname()[1]}")
    assert result.returncode == 1
    assert "no answer within 10 s" in result.stderr


def test_what_dead_runs_left_is_cleared(finished: Path, many: Path, models: Path, whole: dict[str, str]) -> None:
    shutil.copy(next((finished / "windows").iterdir()), finished / "windows" / "0123456789abcdef.parquet")
    (finished / "windows" / ".0123456789abcdef.tmp").write_text("half")
    (finished / "windows" / "notes.txt").write_text("mine")
    (finished / "job.json").write_bytes(b"")
    again = batch(many, models, finished)
    assert again.returncode == 0, again.stderr
    assert "job.json was damaged, and is written anew" in again.stderr
    assert part_digests(finished) == whole
    assert not list(finished.rglob("*.tmp"))
    assert (finished / "windows" / "notes.txt").read_text() == "mine"


def mount(folder: Path, options: str) -> None:
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if result.returncode:
        pytest.skip(f"no small disk can be mounted here: {result.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_a_job_with_a_sentence_and_it_goes_on_when_there_is_space(
    many: Path, models: Path, sink: Sink, whole: dict[str, str], small_disk: Path
) -> None:
    out = small_disk / "out"
    (small_disk / "other").write_bytes(bytes(100 * 1024))
    full = batch(many, models, out, "--pushgateway", sink.address)
    assert full.returncode == 1
    assert "cannot be written (no space left on device); finished shards are kept: free some space, and run" in full.stderr
    assert one_sentence(full.stderr)
    assert "Exception ignored" not in full.stderr
    assert sink.codes == [1]
    assert not list(out.rglob("*.tmp"))
    kept = part_digests(out)
    assert kept, "nothing was finished before the disk was full"
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    again = batch(many, models, out)
    assert again.returncode == 0, again.stderr
    assert kept.items() <= part_digests(out).items()
    assert part_digests(out) == whole


def test_a_disk_that_is_full_or_read_only_from_the_start(few: Path, models: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(256 * 1024))
    for options, message in (([], "no space left on device"), (["remount,ro"], "read-only file system")):
        if options:
            subprocess.run(["mount", "-o", *options, small_disk], check=True)
        dry = batch(few, models, small_disk / "out", "--dry-run")
        run = batch(few, models, small_disk / "out")
        assert (run.returncode, run.stderr) == (dry.returncode, dry.stderr)
        assert run.returncode == 1
        assert f"cannot be written ({message}); choose another --out, or make it writable" in run.stderr
        assert one_sentence(run.stderr)


def test_a_log_on_a_full_disk_is_a_failure_that_is_pushed(few: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            command(few, models, tmp_path / "out", "--pushgateway", sink.address),
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert process.returncode == 1
    assert "no space left on device" in process.stderr
    assert "Traceback" not in process.stderr
    assert sink.codes == [1]


def test_a_limit_on_the_size_of_files_is_a_sentence(many: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    out = tmp_path / "out"
    limited = subprocess.run(
        command(many, models, out, "--pushgateway", sink.address),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert limited.returncode == 1
    assert "cannot be written (file too large); finished shards are kept" in limited.stderr
    assert one_sentence(limited.stderr)
    assert sink.codes == [1]


def test_no_process_of_a_job_outlives_it(few: Path, models: Path, tmp_path: Path) -> None:
    process = start(*command(few, models, tmp_path / "out"))
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
