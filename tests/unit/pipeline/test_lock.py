"""sinks/lock.py: one job at a time in a folder, also after a job was killed. Each holder is a real process."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.pipeline.jobs import holder

from avizor_inference.errors import JobError
from avizor_pipeline.sinks.lock import LOCK_FILE, hold_as_worker, job_lock

JOB = """
import sys
from pathlib import Path
from avizor_pipeline.sinks.lock import job_lock
with job_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
WORKER = """
import sys
from pathlib import Path
from avizor_pipeline.sinks.lock import hold_as_worker
hold_as_worker(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_job_is_refused_with_the_name_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    with holder(JOB, tmp_path) as first:
        with pytest.raises(JobError, match=rf"another job is running .*process {first.pid} on .*; wait for its end"):
            job_lock(tmp_path).__enter__()
        first.kill()
        first.wait()
        with job_lock(tmp_path):
            pass


def test_a_job_that_ends_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    with job_lock(tmp_path):
        pass
    with holder(JOB, tmp_path):
        pass


def test_a_job_is_told_when_its_folder_is_removed_or_another_one_has_its_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with job_lock(out) as still_held:
        still_held()
        out.rename(tmp_path / "elsewhere")
        with pytest.raises(JobError, match="out was removed, replaced or unmounted while the job ran"):
            still_held()
        out.mkdir()
        (out / LOCK_FILE).touch()
        with pytest.raises(JobError, match="was removed, replaced or unmounted"):
            still_held()


def test_workers_share_the_folder_and_hold_it_against_the_next_job_until_the_last_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_pipeline.sinks.file_lock._WAIT_S", 0.0)
    (tmp_path / LOCK_FILE).touch()
    with holder(WORKER, tmp_path) as one, holder(WORKER, tmp_path) as other:
        for worker in (one, other):
            with pytest.raises(JobError, match="workers of a killed job are still running"):
                job_lock(tmp_path).__enter__()
            worker.kill()
            worker.wait()
        with job_lock(tmp_path):
            pass


def test_a_dry_run_leaves_no_lock_file_and_respects_an_existing_one(tmp_path: Path) -> None:
    with job_lock(tmp_path, make=False):
        assert list(tmp_path.iterdir()) == []
    with holder(JOB, tmp_path), pytest.raises(JobError, match="another job is running"):
        job_lock(tmp_path, make=False).__enter__()


def test_a_worker_does_not_make_the_lock_file(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"job\.lock cannot be written \(no such file or directory\)"):
        hold_as_worker(tmp_path)
