"""runners/local.py: shards run in real worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from pickle import PicklingError
from typing import Any

import pytest
from support.object_stores import S3
from support.sounds import tone, write_wav
from support.waiting import wait_until

from avizor_inference.errors import JobError, ModelNotFound
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.attempts import Task
from avizor_pipeline.runners.local import LocalRunner
from avizor_pipeline.runners.worker import Died, Worker
from avizor_pipeline.runners.worker_process import WorkerOptions
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard, shards
from avizor_pipeline.sinks.lock import job_lock
from avizor_pipeline.sinks.part_files import read_commit
from avizor_pipeline.sources.open_source import open_source


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> JobSettings:
    """Settings of a job over five recordings."""
    for number in range(5):
        write_wav(tmp_path / "data" / f"{number}.wav", tone(1.0, seed=number))
    return JobRequest((str(tmp_path / "data"),), ("kinds",), models).to_settings()


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """An output folder that the job of the test holds."""
    (tmp_path / "out").mkdir()
    with job_lock(tmp_path / "out"):
        yield tmp_path / "out"


def one_by_one(settings: JobSettings) -> list[Shard]:
    return [shard for entry in open_source(settings).list() for shard in shards(settings, [entry])]


def test_every_shard_is_committed_once_and_no_worker_is_left(settings: JobSettings, out: Path) -> None:
    todo = one_by_one(settings)
    commits = list(LocalRunner(2).run(iter(todo), settings, out))
    assert sorted(commit.shard for commit in commits) == sorted(shard.id for shard in todo)
    assert [commit.windows for commit in commits] == [2] * 5
    assert all(not isinstance(read_commit(out, shard.id), str) for shard in todo)
    assert multiprocessing.active_children() == []


def test_nothing_is_waited_for_after_the_last_commit_of_shards_that_keep_coming(
    settings: JobSettings, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_pipeline.runners.local.LOOK_EVERY_S", 3600.0)
    todo, done = one_by_one(settings)[:2], list[str]()

    def coming() -> Iterator[Shard | None]:
        yield from todo
        while len(done) < len(todo):
            yield None

    def run() -> None:
        done.extend(commit.shard for commit in LocalRunner(1).run(coming(), settings, out))

    runs = threading.Thread(target=run, daemon=True)
    runs.start()
    runs.join(120)
    assert not runs.is_alive()
    assert done == [shard.id for shard in todo]


def test_a_caller_that_stops_ends_the_workers_and_keeps_what_is_committed(settings: JobSettings, out: Path) -> None:
    commits = LocalRunner(1).run(iter(one_by_one(settings)), settings, out)
    first = next(commits)
    commits.close()
    assert multiprocessing.active_children() == []
    assert not isinstance(read_commit(out, first.shard), str)


def test_a_worker_that_is_killed_is_replaced_and_every_shard_is_committed_once(settings: JobSettings, out: Path) -> None:
    all_shards = one_by_one(settings)

    def todo() -> Iterator[Shard]:
        """Kill the worker before the third shard."""
        for number, shard in enumerate(all_shards):
            if number == 2:
                (worker,) = multiprocessing.active_children()
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
            yield shard

    commits = list(LocalRunner(1).run(todo(), settings, out))
    # The second one was perhaps not committed yet, and is done again.
    assert sorted(commit.shard for commit in commits) == sorted(shard.id for shard in all_shards)
    assert all(commit.dead_letters == 0 for commit in commits)
    assert multiprocessing.active_children() == []


ENDS = """
import sys
from pathlib import Path
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.attempts import Attempt
from avizor_pipeline.runners.worker import Worker
from avizor_pipeline.runners.worker_process import WorkerOptions
from avizor_pipeline.sharding import shards
from avizor_pipeline.sinks.lock import job_lock
from avizor_pipeline.sources.open_source import open_source
data, models, out = sys.argv[1:]
settings = JobRequest((data,), ("kinds",), Path(models)).to_settings()
(shard,) = shards(settings, open_source(settings).list())
with job_lock(Path(out)):
    worker = Worker(WorkerOptions(settings, Path(out), 0.0))
    print(worker.begin(Attempt(shard).task).result().result().files)
"""


def test_a_process_that_ends_before_it_closes_its_workers_does_not_wait_for_them(settings: JobSettings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    arguments = (settings.roots[0], settings.repository, str(tmp_path / "out"))
    ended = subprocess.run([sys.executable, "-c", ENDS, *arguments], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "5\n"), ended.stderr


def test_what_a_worker_cannot_open_is_raised_to_the_caller(settings: JobSettings, out: Path) -> None:
    (choice,) = settings.models
    gone = settings.model_copy(update={"models": (choice.model_copy(update={"version": 9}),)})
    with pytest.raises(ModelNotFound):
        list(LocalRunner(1).run(iter(one_by_one(gone)), gone, out))
    assert multiprocessing.active_children() == []


def test_a_task_that_cannot_be_sent_ends_the_job(settings: JobSettings, out: Path) -> None:
    (shard, *_) = one_by_one(settings)
    worker = Worker(WorkerOptions(settings, out, 0.0))
    try:
        with pytest.raises((PicklingError, AttributeError), match="lambda"):
            worker.begin(Task(shard, {"a.wav": lambda: ""})).result(60)  # type: ignore[dict-item]
        begun = worker.begin(Task(shard, {})).result(60)
        assert begun == Died(may_be_cause=False)
    finally:
        worker.kill()
        worker.close()


def is_commit(environ: dict[str, Any]) -> bool:
    return environ["REQUEST_METHOD"] == "PUT" and "/run/commits/" in environ["PATH_INFO"]


@pytest.fixture
def on_store(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectPath]:
    """A place on a store that the job of the test holds."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the workers, as of the test
    out = ObjectPath.parse(s3.url("run"))
    with job_lock(out):
        yield out


def test_a_shard_is_computed_while_the_one_before_it_is_committed(s3: S3, settings: JobSettings, on_store: ObjectPath) -> None:
    todo, seen = one_by_one(settings), list[bool]()

    def hold_first_commit(environ: dict[str, Any]) -> None:
        if is_commit(environ) and not seen:
            wait_until(lambda: any(on_store.working_folder().rglob("*.tmp")))  # parts of the next one
            seen.append(True)

    s3.fault = hold_first_commit
    commits = list(LocalRunner(1).run(iter(todo), settings, on_store))
    assert seen == [True]
    assert [commit.shard for commit in commits] == [shard.id for shard in todo]


def test_a_worker_killed_as_it_commits_costs_no_file_and_doubles_none(
    s3: S3, settings: JobSettings, on_store: ObjectPath
) -> None:
    todo, killed = one_by_one(settings), list[int]()

    def kill(environ: dict[str, Any]) -> None:
        if is_commit(environ) and len(killed) < 3:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    s3.fault = kill
    commits = list(LocalRunner(1).run(iter(todo), settings, on_store))
    assert len(set(killed)) == 3
    assert sorted(commit.shard for commit in commits) == sorted(shard.id for shard in todo)
    assert [(commit.windows, commit.dead_letters) for commit in commits] == [(2, 0)] * 5
    assert all(
        read_commit(on_store, commit.shard) == commit.model_copy(update={"digest": commit.own_digest}) for commit in commits
    )


def test_a_commit_that_kills_its_worker_each_time_is_named(s3: S3, settings: JobSettings, on_store: ObjectPath) -> None:
    todo, killed, done = one_by_one(settings), list[int](), list[str]()

    def kill(environ: dict[str, Any]) -> None:
        if is_commit(environ) and todo[1].id in environ["PATH_INFO"]:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    s3.fault = kill
    with pytest.raises(JobError, match=r"died 4 times as it committed one shard \(ended by SIGKILL; .* finished shards"):
        done.extend(commit.shard for commit in LocalRunner(1).run(iter(todo), settings, on_store))
    assert 4 <= len(set(killed)) <= 5
    assert todo[0].id in done
    assert multiprocessing.active_children() == []


def test_workers_that_are_killed_again_and_again_as_they_start_end_no_job_that_has_read_files(
    settings: JobSettings, out: Path
) -> None:
    todo, killed = one_by_one(settings), list[int]()

    def kill_starting() -> None:
        """Kill the worker that runs, and then the next four as soon as they are there: none has opened the models by then."""
        while len(killed) < 5:
            for worker in multiprocessing.active_children():
                if worker.pid is not None and worker.pid not in killed:
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.append(worker.pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_starting)
    commits = list[str]()
    for commit in LocalRunner(1).run(iter(todo), settings, out):
        if not commits:
            killer.start()
        commits.append(commit.shard)
    killer.join()
    assert sorted(commits) == sorted(shard.id for shard in todo)


def test_a_trial_begins_when_nothing_is_left_to_commit(s3: S3, settings: JobSettings, on_store: ObjectPath) -> None:
    """The death of a worker would be held against the file that is tried, and the commit may be why."""
    first, second, *_ = one_by_one(settings)
    s3.fault = lambda environ: time.sleep(1.0) if is_commit(environ) else None  # a trial takes a part of that
    worker = Worker(WorkerOptions(settings, on_store, 0.0))
    try:
        commit = worker.begin(Task(first, {})).result()
        assert isinstance(commit, Future)
        assert worker.begin(Task(second, {}, trial=True)).result() is None
        assert commit.done()
    finally:
        worker.kill()
        worker.close()


def test_a_commit_that_the_store_refuses_is_raised_to_the_caller(s3: S3, settings: JobSettings, on_store: ObjectPath) -> None:
    s3.fault = lambda environ: ("403 Forbidden", b"") if is_commit(environ) else None
    with pytest.raises(JobError, match=r"run/commits/.* cannot be written .*; finished shards are kept"):
        list(LocalRunner(1).run(iter(one_by_one(settings)), settings, on_store))
    assert multiprocessing.active_children() == []
