"""A job pushes its result to the Pushgateway however it ends; a dry run has the same exit codes and pushes nothing."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from integration.jobs import Sink, batch, command, files_below, one_sentence, part_digests, start
from support.sounds import tone, write_wav


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
        ("few", ["--model", "gone"], 1, "no model named 'gone'"),
        ("few", ["--alpha", "0.001"], 1, "needs at least 999 normal items"),
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
    few_recordings: Path, models: Path, sink: Sink, tmp_path: Path, data: str, options: list[str], code: int, message: str
) -> None:
    for folder in ("empty", "foreign"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "foreign" / "thesis.txt").touch()
    options = [str(tmp_path / each) if each in ("nowhere", "file", "foreign") else each for each in options]
    options = [taken_port() if each == "taken" else each for each in options]
    source = few_recordings if data == "few" else tmp_path / data
    options += ["--pushgateway", sink.address, "--push-job", "night"]
    before = files_below(tmp_path)
    dry = batch(source, models, tmp_path / "out", *options, "--dry-run")
    assert files_below(tmp_path) == before
    assert sink.codes == []
    run = batch(source, models, tmp_path / "out", *options)
    assert (run.returncode, run.stderr) == (dry.returncode, dry.stderr)
    assert run.returncode == code
    assert message in run.stderr
    assert one_sentence(run.stderr)
    assert (sink.codes, sink.paths) == ([code], ["/metrics/job/night"])


def test_a_push_that_fails_does_not_hide_why_the_job_failed(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    result = batch(few_recordings, models, tmp_path / "out", "--model", "gone", "--pushgateway", "127.0.0.1:1")
    assert result.returncode == 1
    assert "Warning: exit code 1 could not be pushed to 127.0.0.1:1" in result.stderr
    assert "no model named 'gone'" in result.stderr
    assert one_sentence(result.stderr)
    for address in ("127.0.0.1:port", "ftp://host:9091", ":9091"):
        result = batch(few_recordings, models, tmp_path / "out", "--pushgateway", address)
        assert result.returncode == 1
        assert f"--pushgateway {address} is not an address; write HOST:PORT" in result.stderr


def test_a_success_is_pushed_with_its_figures(few_recordings: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    data = Path(shutil.copytree(few_recordings, tmp_path / "data"))
    write_wav(data / "a" / "short.wav", tone(0.1))
    result = batch(data, models, tmp_path / "out", "--pushgateway", sink.address, "--push-job", "night")
    assert result.returncode == 0, result.stderr
    assert (sink.codes, sink.paths) == ([0], ["/metrics/job/night"])
    assert "avizor_batch_files_total 4.0" in sink.texts[0]
    assert 'avizor_batch_anomalies{model="normal",source="a"} ' in sink.texts[0]
    assert 'avizor_batch_recordings{model="normal",source="a"} 3.0' in sink.texts[0]
    assert 'avizor_batch_recordings_not_judged{model="normal",source="a"} 1.0' in sink.texts[0]
    assert "avizor_batch_alpha 0.05" in sink.texts[0]
    assert [path for path, _ in sink.added] == ["/metrics/job/night", "/metrics/job/night/outcome/success"]
    away = batch(few_recordings, models, tmp_path / "other", "--pushgateway", "127.0.0.1:1")
    assert away.returncode == 1
    assert "the job is done, but its outcome could not be pushed" in away.stderr
    assert one_sentence(away.stderr)
    other = tmp_path / "other"
    parts = {path for table in ("rounds", "windows", "recordings") for path in (other / table).iterdir()}
    assert part_digests(other).keys() == {str(path.relative_to(other)) for path in parts}


def test_a_running_job_serves_how_far_it_is(many_recordings: Path, models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start(*command(many_recordings, models, tmp_path / "out", "--metrics-port", str(port)))
    served: list[tuple[float, ...]] = []
    while process.poll() is None:
        with contextlib.suppress(OSError):  # it does not listen yet, or no more
            served.append(figures(port))
        time.sleep(0.05)
    assert process.returncode == 0
    assert {(running, planned) for running, planned, *_ in served} <= {(1, 0), (1, 400), (0, 400)}
    done = [files for *_, files in served]
    assert done == sorted(done)
    assert [files for files in done if 0 < files < 400], done


def figures(port: int) -> tuple[float, ...]:
    """What a job serves: whether it runs, the files that are planned, and those that are done."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = ("running", "planned_files", "files_total")
    return tuple(float(re.findall(rf"^avizor_batch_{name} (\S+)$", text, re.MULTILINE)[0]) for name in names)


@pytest.mark.slow
def test_a_pushgateway_that_drips_its_answer_is_not_waited_for(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                for number in range(60):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n" if not number else b"X: y\r\n")
                    time.sleep(1)

        threading.Thread(target=drip, daemon=True).start()
        result = batch(few_recordings, models, tmp_path / "out", "--pushgateway", f"127.0.0.1:{server.getsockname()[1]}")
    assert result.returncode == 1
    assert "no answer within 10 s" in result.stderr


def test_a_job_whose_output_nobody_reads_ends_as_well(few_recordings: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    line = shlex.join([*command(few_recordings, models, tmp_path / "out", "--pushgateway", sink.address)])
    assert subprocess.run(["sh", "-c", f"{line} >&-"], timeout=60, check=False).returncode == 0
    assert sink.codes == [0]
