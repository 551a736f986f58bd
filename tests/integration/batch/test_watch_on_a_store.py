"""`avizor watch` with its results on an object store: the rows are those of a disk, also after a kill."""

from __future__ import annotations

import io
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from integration.jobs import AVIZOR
from integration.watching import watch_command
from support.object_stores import S3
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.stored_results import names
from support.waiting import wait_until
from support.warm_starts import WarmPopen, warm_run


def recording(path: Path, seed: int) -> Path:
    write_wav(path, tone(3 * 4096 / SAMPLE_RATE, seed=seed))
    return path


def stored(s3: S3, prefix: str, table: str) -> list[dict[str, Any]]:
    keys = [f"{prefix}/{name}" for name in names(s3.bucket, prefix) if name.startswith(f"{table}/")]
    tables = [pq.read_table(io.BytesIO(s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read())) for key in keys]
    return sorted(pa.concat_tables(tables).to_pylist(), key=str) if tables else []


def avizor(*words: object) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), *map(str, words)])


def watch(what: Path | str, models: Path, out: str, *more: str, **pipes: Any) -> subprocess.Popen[bytes]:
    return WarmPopen(watch_command(what, models, Path("out"), *more, "--out", out), stderr=subprocess.PIPE, **pipes)


def ended(job: subprocess.Popen[bytes]) -> str:
    """What it has said, after it has ended in order."""
    _, said = job.communicate(timeout=120)
    assert job.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.slow
def test_rows_of_files_are_those_of_a_disk_and_a_killed_job_goes_on(s3: S3, models: Path, tmp_path: Path) -> None:
    incoming, out = tmp_path / "incoming", s3.url("run")
    recording(incoming / "a" / "0.wav", 0)
    with watch(incoming, models, out) as job:
        wait_until(lambda: len(stored(s3, "run", "recordings")) == 1 or job.poll() is not None)
        job.kill()
    recording(incoming / "a" / "1.wav", 1)
    with watch(incoming, models, out, "--q-values") as job:
        wait_until(lambda: len(stored(s3, "run", "recordings")) == 2 or job.poll() is not None)
        recording(incoming / "b" / "2.wav", 2)
        wait_until(lambda: len(stored(s3, "run", "recordings")) == 3 or job.poll() is not None)
        job.send_signal(signal.SIGTERM)
        ended(job)
    disk = ("--models", models, "--model", "normal", "--out", tmp_path / "disk", "--alpha", "0.05", "--workers", "1")
    assert avizor("batch", incoming, *disk).returncode == 0
    for table in ("windows", "recordings"):
        expected = [row for part in sorted((tmp_path / "disk" / table).iterdir()) for row in pq.read_table(part).to_pylist()]
        assert stored(s3, "run", table) == sorted(expected, key=str)
    assert {"summary.json", "q_values.parquet"} <= {*names(s3.bucket, "run")}
    proof = avizor("verify", out)
    assert (proof.returncode, "no row is there twice" in proof.stdout) == (0, True), proof.stdout


def test_a_stream_has_its_windows_on_the_store_while_it_runs_and_its_recording_at_the_end(
    s3: S3, models: Path, tmp_path: Path
) -> None:
    second = (tone(1.0) * 30000).astype("<i2").tobytes()
    with watch("-", models, s3.url("live"), "--rate", str(SAMPLE_RATE), stdin=subprocess.PIPE) as job:
        assert job.stdin
        for _ in range(2):
            job.stdin.write(second)
        job.stdin.flush()
        wait_until(lambda: len(stored(s3, "live", "windows")) > 0 or job.poll() is not None)
        assert stored(s3, "live", "recordings") == []
        job.stdin.write(second)
        ended(job)
    (row,) = stored(s3, "live", "recordings")
    assert row["windows"] == len(stored(s3, "live", "windows")) == 6
    assert avizor("verify", s3.url("live")).returncode == 0
