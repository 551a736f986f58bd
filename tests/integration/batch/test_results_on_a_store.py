"""Results on an object store: what a job writes there is what it writes on a disk, and it goes on after whatever stops it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from integration.jobs import AVIZOR, command, one_sentence, workers
from support.object_stores import S3
from support.scripts import store_crash_points
from support.scripts.crash_points import run
from support.sounds import tone, write_long_wav, write_wav
from support.stored_results import digests, digests_on_disk, names
from support.warm_starts import warm_run

from avizor_pipeline.sinks.output_files import output_path
from avizor_pipeline.verify import verify_job

TESTS = Path(__file__).parents[2]
SHIM = TESTS / "support" / "killed_before_commit"
PAGE = Path(__file__).parents[3] / "docs" / "results-on-a-store.md"
KILLS = int(os.environ.get("AVIZOR_TEST_KILLS_ON_A_STORE", "60"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Seventy of one window, which are two shards, and one that crash_points.run cuts into sections. Two cannot be read."""
    folder = tmp_path / "data"
    write_long_wav(folder / "b" / "long.wav", seconds=40)
    for number in range(70):
        write_wav(folder / "a" / f"{number:02d}.wav", tone(0.4, seed=number))
    for number in (3, 66):
        (folder / "a" / f"{number:02d}.wav").write_text("no sound")
    return folder


def avizor(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), *map(str, arguments)], timeout=500, env=os.environ | environment)


def batch(data: Path, models: Path, out: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return avizor(*command(data, models, Path("out"), *more)[1:], "--out", out, **environment)


def test_runs_on_a_store_leave_the_same_bytes_as_on_a_disk(
    s3: S3, recordings: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    disk, url = tmp_path / "disk", s3.url("run")
    for act in ("batch", "redo", "retry"):
        run(recordings, models, disk, act)
        run(recordings, models, output_path(url), act)
        assert digests(s3.bucket, "run") == digests_on_disk(disk)
        assert "summary.json" in names(s3.bucket, "run")
        assert list(temporary.glob("avizor-*/*")) == []  # nothing is left there
        proof = verify_job(output_path(url))
        assert (proof.problems, proof.parts > 0, proof.out) == ([], True, url)
        store_crash_points.change(recordings)
    s3.client.delete_object(Bucket=s3.bucket, Key=f"run/{next(name for name in names(s3.bucket, 'run') if 'windows/' in name)}")
    assert "cannot be read (no such file or directory); run the same command again" in verify_job(output_path(url)).problems[0]
    run(recordings, models, output_path(url), "batch")
    assert digests(s3.bucket, "run").keys() == digests_on_disk(disk).keys()


@pytest.mark.slow
def test_commands_name_the_url_and_tables_are_read_in_one_line(s3: S3, recordings: Path, models: Path, tmp_path: Path) -> None:
    url, derived = s3.url("run"), ("--q-values", "--tables", "raven,audacity,regions")
    assert batch(recordings, models, str(tmp_path / "disk"), *derived).returncode == 3
    dry = batch(recordings, models, url, "--dry-run")
    assert (dry.returncode, names(s3.bucket, "run")) == (0, []), dry.stderr
    (own := tmp_path / "temporary").mkdir()
    first = batch(recordings, models, url, *derived, TMPDIR=str(own))
    assert first.returncode == 3, first.stderr
    assert list(own.glob("avizor-*/*")) == []
    assert f"2 files could not be read: see {url}/dead_letters/*.parquet" in first.stdout
    tables = "windows/, recordings/, dead_letters/, q_values.parquet, raven/, audacity/, regions.parquet, summary.json"
    assert f"results in {url}: {tables}" in first.stdout
    assert digests(s3.bucket, "run") == digests_on_disk(tmp_path / "disk")
    summary = json.loads(s3.client.get_object(Bucket=s3.bucket, Key="run/summary.json")["Body"].read())
    assert (summary["out"], summary["files"]) == (url, 71)
    again = batch(recordings, models, f"{url}/", *derived)
    assert (again.returncode, "71 of them by earlier runs" in again.stdout) == (3, True), again.stderr
    assert digests(s3.bucket, "run") == digests_on_disk(tmp_path / "disk")
    assert avizor("verify", url).returncode == 0
    assert (avizor("retry", url).returncode, avizor("verify", url).returncode) == (3, 0)
    assert "s3" not in "".join(os.listdir())
    lines = re.findall(r"## Read.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0].replace("s3://results/july", url)
    setup, *reads = lines.strip().split("\n\n")
    scope: dict[str, Any] = {}
    exec(setup, scope)
    windows, rows, count = [eval(line, scope) for line in "\n".join(reads).splitlines()]
    assert (windows.height > 0, len(rows), count) == (True, 2 * 69, summary["windows"])


@pytest.mark.slow
def test_every_crash_point_is_survived(s3: S3, recordings: Path, models: Path, tmp_path: Path) -> None:
    script = [sys.executable, store_crash_points.__file__, recordings, models, tmp_path, s3.bucket]
    tests = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        list(map(str, script)), capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": tests}
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["wrong"] == [], result.stderr
    assert set(found["points"]) == {"put", "put_file", "unlink", "remove_with_contents"}
    assert sum(found["points"].values()) > 40


@pytest.mark.slow
def test_kills_of_the_job_of_a_worker_and_of_both_lose_and_double_nothing(
    s3: S3, many_recordings: Path, models: Path, tmp_path: Path
) -> None:
    random.seed(13)
    assert batch(many_recordings, models, str(tmp_path / "disk")).returncode == 0
    expected, killed, job, lasts = digests_on_disk(tmp_path / "disk"), 0, 0, 4.0
    while killed < KILLS:
        job, number = job + 1, 0
        while True:
            victim, once = ("parent", "worker", "both")[killed % 3], tmp_path / f"{job}-{number}"
            number += 1
            shim = {"AVIZOR_KILL": victim, "AVIZOR_KILL_ONCE": str(once)} if number % 5 == 1 and killed < KILLS else {}
            paths = os.pathsep.join([str(SHIM)] * bool(shim) + [os.environ.get("PYTHONPATH", "")])
            arguments = [*command(many_recordings, models, Path("out")), "--out", s3.url(str(job))]
            process = subprocess.Popen(
                arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
                env=os.environ | shim | {"PYTHONPATH": paths},
            )  # fmt: skip
            began = time.monotonic()
            if not shim and killed < KILLS:
                time.sleep(random.uniform(0, lasts))
                if process.poll() is None:
                    killed += kill(process, victim)
            _, error = process.communicate(timeout=300)
            killed += once.exists()
            if process.returncode == 0:
                lasts = max(1.0, 0.8 * (time.monotonic() - began))
                break
            assert process.returncode in (1, -signal.SIGKILL), error
        assert digests(s3.bucket, str(job)) == expected, killed
        assert avizor("verify", s3.url(str(job))).returncode == 0
    print(f"\n{killed} kills in {job} jobs")


def kill(process: subprocess.Popen[str], victim: str) -> bool:
    """Kill what is to be killed; return whether there was anything."""
    if victim == "worker":
        for each in workers(process):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if "spawn_main" in " ".join(each.cmdline()):
                    each.kill()
                    return True
        return False
    process.kill() if victim == "parent" else os.killpg(process.pid, signal.SIGKILL)
    return True


def refusing(status: str, body: bytes, method: str = "PUT", name: str = "") -> Any:
    return lambda environ: (status, body) if environ["REQUEST_METHOD"] == method and name in environ["PATH_INFO"] else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (refusing("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), "AccessDenied"),
        (refusing("403 Forbidden", b"<Error><Code>QuotaExceeded</Code></Error>", name="/windows/"), "QuotaExceeded"),
        (refusing("403 Forbidden", b"<Error><Code>InvalidAccessKeyId</Code></Error>", "GET"), "the access key is not known"),
        (refusing("404 Not Found", b"<Error><Code>NoSuchBucket</Code></Error>", "GET"), "the bucket does not exist"),
    ],
)
def test_a_store_that_refuses_ends_the_job_with_the_reason_and_it_goes_on_later(
    s3: S3, recordings: Path, models: Path, fault: Any, problem: str
) -> None:
    s3.fault = fault
    refused = batch(recordings, models, s3.url("run"))
    assert refused.returncode == 1
    assert one_sentence(refused.stderr)
    assert re.search(rf"Error: {s3.url('run')}\S*.* \(.*{problem}|Error: {s3.url('run')}\S*: {problem}", refused.stderr)
    assert "secret-key" not in refused.stdout + refused.stderr
    s3.fault = None
    assert batch(recordings, models, s3.url("run")).returncode == 3
    assert avizor("verify", s3.url("run")).returncode == 0


@pytest.mark.slow
def test_a_store_that_is_away_is_waited_for_and_then_the_job_ends_and_can_be_resumed(
    s3: S3, recordings: Path, models: Path, tmp_path: Path
) -> None:
    assert batch(recordings, models, str(tmp_path / "disk")).returncode == 3
    for lasts in (5.0, 1000.0):
        url, began = s3.url(f"run-{lasts}"), [0.0]

        def away(environ: dict[str, Any], lasts: float = lasts, began: list[float] = began) -> tuple[str, bytes] | None:
            if "/windows/" in environ["PATH_INFO"] and not began[0]:
                began[0] = time.monotonic()
            return ("503 Slow Down", b"") if began[0] and time.monotonic() < began[0] + lasts else None

        s3.fault = away
        result = batch(recordings, models, url)
        if lasts > 100:
            assert (result.returncode, one_sentence(result.stderr)) == (1, True), result.stderr
            assert "503" in result.stderr
            assert "run the same command again to go on" in result.stderr
            s3.fault = None
            result = batch(recordings, models, url)
        assert result.returncode == 3, result.stderr
        assert digests(s3.bucket, f"run-{lasts}") == digests_on_disk(tmp_path / "disk")


@pytest.mark.slow
def test_without_credentials_the_command_says_so(s3: S3, recordings: Path, models: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name)
    refused = batch(recordings, models, s3.url("run"))
    assert (refused.returncode, one_sentence(refused.stderr)) == (1, True)
    assert "there are no credentials" in refused.stderr
