"""runners/ray_node.py: the workers of one machine of a cluster, here without a cluster."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.other_probe import expect_other_answers
from support.sounds import tone, write_wav

from avizor_inference.errors import JobError
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners import ray_node
from avizor_pipeline.runners.ray_node import NodeOrder, NodeWorkers, differences, software, to_arguments
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard, shards
from avizor_pipeline.sinks.lock import job_lock, who_holds
from avizor_pipeline.sinks.part_files import Commit, commit_path, part_path, read_commit
from avizor_pipeline.sources.open_source import open_source


@pytest.fixture
def order(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeOrder]:
    """What a machine of a job over three recordings is told, in a process of its own as far as it changes it."""
    monkeypatch.setitem(sys.modules["__main__"].__dict__, "__file__", sys.modules["__main__"].__dict__.get("__file__"))
    monkeypatch.setattr(ray_node, "WORKERS_END_S", 600.0)  # else it ends this process, which nobody calls
    for number in range(3):
        write_wav(tmp_path / "data" / f"{number}.wav", tone(1.0, seed=number))
    settings = JobRequest((str(tmp_path / "data"),), ("kinds",), models).to_settings()
    out = tmp_path / "out"
    out.mkdir()
    with job_lock(out):
        (first, *_) = open_source(settings).list()
        yield NodeOrder(settings, out, 1, 60.0, 0.0, None, str(Path.cwd()), who_holds(out), first)


def whole(settings: JobSettings) -> Shard:
    (shard,) = shards(settings, open_source(settings).list())
    return shard


def test_what_a_lost_machine_has_committed_counts_and_what_is_damaged_of_it_is_done_again(order: NodeOrder) -> None:
    shard, node = whole(order.settings), NodeWorkers(order)
    node.begin()
    try:
        done = node.run(False, *to_arguments(shard))
        commit = commit_path(order.out, shard.id)
        assert isinstance(commit, Path)
        written = commit.stat().st_mtime_ns
        recorded = read_commit(order.out, shard.id)
        assert isinstance(recorded, Commit)
        assert recorded.model_copy(update={"digest": ""}) == done
        assert node.run(True, *to_arguments(shard)) == recorded
        assert commit.stat().st_mtime_ns == written
        part = part_path(order.out, "windows", shard.id)
        assert isinstance(part, Path)
        part.write_bytes(part.read_bytes()[:-1])
        assert node.run(True, *to_arguments(shard)) == done
        assert read_commit(order.out, shard.id) == recorded
    finally:
        node.stop()
    assert multiprocessing.active_children() == []


def test_a_machine_that_is_stopped_begins_nothing_more(order: NodeOrder) -> None:
    node = NodeWorkers(order)
    node.begin()
    node.stop()
    with pytest.raises(JobError, match="the job was stopped"):
        node.run(False, *to_arguments(whole(order.settings)))
    assert multiprocessing.active_children() == []


def test_a_machine_lacks_something(order: NodeOrder, tmp_path: Path) -> None:
    def says(order: NodeOrder) -> str:
        with pytest.raises(JobError, match=r"^the machine .+ cannot do its part of the job: ") as refused:
            NodeWorkers(order).begin()
        return str(refused.value)

    assert "is not that of the job; is it a folder of that machine alone?" in says(replace(order, held="another"))
    absent = tmp_path / "absent"
    assert "job.lock cannot be read (no such file or directory); is it a folder" in says(replace(order, out=absent))
    moved = order.settings.model_copy(update={"repository": str(absent)})
    assert f"each machine needs the same models below {absent} (--models)" in says(replace(order, settings=moved))
    (Path(order.settings.roots[0]) / "0.wav").unlink()
    assert "0.wav cannot be looked at, and it can where the job was started" in says(order)
    relative = order.settings.model_copy(update={"repository": "models"})
    nowhere = replace(order, settings=relative, folder=str(absent))
    assert f"it has no folder {absent}, from which the job was started" in says(nowhere)
    assert "models is relative to that: give absolute paths" in says(nowhere)


def test_a_machine_that_computes_a_model_otherwise_than_at_export_is_refused(
    order: NodeOrder, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models, tmp_path / "models")
    expect_other_answers(tmp_path / "models", "kinds")
    # As in a job of an Avizor that did not note manifests: else that of this machine would be another one than the job's.
    choices = tuple(model.model_copy(update={"manifest_sha256": ""}) for model in order.settings.models)
    settings = order.settings.model_copy(update={"repository": str(tmp_path / "models"), "models": choices})
    with pytest.raises(JobError, match=r"^the machine .+: 'kinds' version 1 is not computed as at export: output "):
        NodeWorkers(replace(order, settings=settings)).begin()


def test_reconstructions_need_a_folder_that_is_shared(order: NodeOrder, tmp_path: Path) -> None:
    pictures = order.settings.model_copy(update={"reconstructions": str(tmp_path / "pictures")})
    with pytest.raises(JobError, match=r"each machine needs the same models|needs a mount that all machines share"):
        NodeWorkers(replace(order, settings=pictures)).begin()


def test_a_shard_of_any_size_goes_within_small_arguments(order: NodeOrder) -> None:
    shard = whole(order.settings)
    entry = shard.entries[0]
    many = replace(shard, entries=tuple(entry._replace(uri=f"{number}.wav") for number in range(5000)))
    arguments = to_arguments(many)
    assert len(arguments) > 1
    assert max(map(len, arguments)) <= 64 * 1024
    assert pickle.loads(b"".join(arguments)) == many


def test_software_that_differs_is_named() -> None:
    here = software()
    assert differences(here, dict(here)) == ""
    assert {"Python", "Avizor", "numpy", "onnxruntime"} <= here.keys()
    other = {**here, "numpy": "1.0"}
    del other["soxr"]
    assert differences(here, other) == f"numpy 1.0 (here {here['numpy']}), soxr not installed (here {here['soxr']})"


SILENT = """
import os, sys, time
from avizor_pipeline.runners import ray_node
ray_node.WORKERS_END_S, ray_node._LOOK_S = float(sys.argv[1]), 0.05
node = ray_node.NodeWorkers(None)
import threading
threading.Thread(target=node._end_if_silent, daemon=True).start()
print("begun", flush=True)
for line in sys.stdin:
    node.ping()
time.sleep(600)
"""


def test_workers_of_a_job_that_is_silent_end_and_a_call_counts_from_the_answer_before_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SILENT, "1.5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        for _ in range(16):  # longer than the job may be silent
            time.sleep(0.125)
            process.stdin.write("ping\n")
            process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()  # two calls more would be needed for another 1.5 seconds from now
        assert process.wait(timeout=60) == 1
