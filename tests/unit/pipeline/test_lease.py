"""sinks/lease.py: one job at a time below a place on a store, also after a job was killed."""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.object_stores import S3
from unit.pipeline.jobs import holder

from avizor_inference.errors import JobError
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks import file_lock
from avizor_pipeline.sinks.lock import hold_as_worker, job_lock
from avizor_pipeline.sinks.output_files import publish, temporary_for

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

JOB = """
import sys, tempfile
from avizor_pipeline.sinks import lease
from avizor_pipeline.sinks.lock import job_lock
from avizor_inference.items.object_path import ObjectPath
tempfile.tempdir, lease.RENEW_S = sys.argv[2], 0.05
with job_lock(ObjectPath.parse(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("RENEW_S", 0.05), ("WATCH_S", 0.6), ("_POLL_S", 0.1)):
        monkeypatch.setattr(f"avizor_pipeline.sinks.lease.{name}", seconds)


@pytest.fixture
def out(s3: S3) -> ObjectPath:
    return ObjectPath.parse(s3.url("run"))


@contextmanager
def job_of(out: ObjectPath, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a job that holds `out` until it is killed, on a machine whose temporary files are there."""
    temporary.mkdir(exist_ok=True)
    with holder(JOB, out, temporary) as process:
        yield process


@pytest.mark.parametrize("make", [True, False])
def test_a_job_of_another_machine_that_is_alive_refuses_the_next_which_waits_once_it_was_killed(
    make: bool, out: ObjectPath, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with job_of(out, tmp_path / "elsewhere") as first:
        with pytest.raises(JobError, match=rf"another job is running in s3://.* \(process {first.pid} on .*; wait for its end"):
            job_lock(out, make=make).__enter__()
        first.kill()
        first.wait()
        began = time.monotonic()
        with caplog.at_level(logging.WARNING), job_lock(out, make=make):
            assert time.monotonic() - began >= 0.6
    assert f"{out}/job.lock says that a job is running (process {first.pid} on " in caplog.text
    assert "if you know that it has ended, remove it" in caplog.text


def test_a_job_of_this_machine_is_refused_at_once_and_not_waited_for_when_it_was_killed(
    out: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_pipeline.sinks.lease.WATCH_S", 3600.0)
    with job_of(out, tmp_path) as first:
        with pytest.raises(JobError, match=f"another job is running in s3://.* \\(process {first.pid} on "):
            job_lock(out).__enter__()
        first.kill()
        first.wait()
        with job_lock(out, make=False), job_lock(out):
            hold_as_worker(out)


def test_a_job_that_ends_removes_its_object_and_what_it_has_not_sent(out: ObjectPath) -> None:
    with job_lock(out) as still_held:
        assert out.names() == ["job.lock"]
        unsent = out.working_folder() / ".x.parquet.tmp"
        unsent.write_bytes(b"x")
        time.sleep(0.3)  # it is renewed some times
        still_held()
    assert out.names() == []
    assert not unsent.exists()


def test_nothing_is_left_on_this_machine_by_a_job_that_has_ended_well(out: ObjectPath) -> None:
    with job_lock(out):
        folder = out.working_folder()
        publish(written(temporary_for(out / "part.parquet")), out / "part.parquet")
        assert folder.is_dir()
    assert not folder.exists()
    publish(written(temporary_for(out / "derived.parquet")), out / "derived.parquet")  # as a job does at its very end
    assert not folder.exists()
    with job_lock(out, make=False):  # as a dry run does
        pass
    assert not folder.exists()
    with pytest.raises(ValueError, match="stopped"), job_lock(out):
        raise ValueError("stopped")
    assert [path.name for path in folder.iterdir()] == ["job.lock"]


def test_a_lock_file_that_is_removed_before_it_is_locked_is_made(out: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another job may end between the two."""
    folder, acquire, times = out.working_folder(), file_lock._acquire, list[int]()

    def removed_before(descriptor: int, what: object) -> None:
        if not times:
            (folder / "job.lock").unlink()
            folder.rmdir()
        times.append(descriptor)
        acquire(descriptor, what)

    monkeypatch.setattr(file_lock, "_acquire", removed_before)
    with job_lock(out):
        assert (folder / "job.lock").exists()
        hold_as_worker(out)
    assert len(times) == 2


def test_a_lock_file_that_cannot_be_made_again_is_told_as_such(out: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was removed is closed once: its number may be that of another file by then."""
    opened = iter([file_lock._open])

    def refused(path: Path, *, make: bool, place: bool) -> int:
        for open_it in opened:
            return open_it(path, make=make, place=place)
        raise JobError("no space left")

    monkeypatch.setattr(file_lock, "_open", refused)
    monkeypatch.setattr(file_lock, "_is_at", lambda *_: False)
    with pytest.raises(JobError, match="no space left"), job_lock(out):
        pass


def written(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


def test_an_object_that_is_not_of_a_job_is_waited_for_as_a_dead_one(out: ObjectPath) -> None:
    (out / "job.lock").put(b"whatever")
    with job_lock(out) as still_held:
        still_held()


@pytest.mark.parametrize("what", ["removed", "taken over"])
def test_a_job_notices_that_it_has_lost_the_place_and_leaves_it_to_the_other(what: str, out: ObjectPath) -> None:
    with job_lock(out) as still_held:
        if what == "removed":
            (out / "job.lock").unlink()
        else:
            (out / "job.lock").put(b"of another job")
        deadline, problem = time.monotonic() + 30, ""
        while not problem and time.monotonic() < deadline:
            time.sleep(0.02)
            try:
                still_held()
            except JobError as error:
                problem = str(error)
    assert "is not of this job any more" in problem
    assert out.names() == ([] if what == "removed" else ["job.lock"])


def test_a_store_that_is_away_for_a_moment_costs_nothing(s3: S3, out: ObjectPath, caplog: pytest.LogCaptureFixture) -> None:
    with job_lock(out) as still_held:
        s3.fault = lambda environ: ("403 Forbidden", b"") if environ["REQUEST_METHOD"] == "PUT" else None
        while "could not be renewed (the store refuses it" not in caplog.text:
            time.sleep(0.02)
        s3.fault = None
        time.sleep(0.3)
        still_held()
    assert out.names() == []


def test_a_renewal_whose_answer_is_lost_does_not_cost_the_job_its_place(
    s3: S3, out: ObjectPath, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_answer(environ: dict[str, object]) -> tuple[str, bytes] | None:
        if environ["REQUEST_METHOD"] != "PUT":
            return None
        s3.client.put_object(Bucket=s3.bucket, Key="run/job.lock", Body=_renewed_once_more(out))
        return "403 Forbidden", b""

    with job_lock(out) as still_held:
        s3.fault = lose_answer
        while "could not be renewed" not in caplog.text:
            time.sleep(0.02)
        s3.fault = None
        first = (out / "job.lock").read_version()
        time.sleep(0.5)
        still_held()
        assert (out / "job.lock").read_version() != first
    assert out.names() == []


def _renewed_once_more(out: ObjectPath) -> bytes:
    """The object as the job would have it after its next renewal."""
    found = json.loads((out / "job.lock").read_bytes())
    return f"{json.dumps(found | {'renewals': found['renewals'] + 1})}\n".encode()
