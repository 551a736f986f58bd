"""A batch job on Ray clusters of two nodes, which are killed, refused and lost: the rows are those of one machine."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from integration.jobs import AVIZOR, batch, command, committed, eventually, one_sentence, part_digests, start
from support.environment import ROOT
from support.object_stores import S3
from support.ray_nodes import RayNodes, ray_nodes
from support.stored_results import digests, names

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

SUPPORT = ROOT / "tests" / "support"
TOKEN = "a" * 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    """Two nodes of one core that no test ends."""
    with ray_nodes(1, 1) as nodes:
        yield nodes


def on_ray(data: object, models: Path, out: object, address: str, *more: str) -> list[str]:
    words = command(Path("data"), models, Path("out"), "--runner", "ray", "--ray-address", address, *more)
    words[words.index("data")], words[words.index("out")] = str(data), str(out)
    return words


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=env)


def stored_commits(s3: S3, prefix: str) -> int:
    return sum(name.startswith("commits/") for name in names(s3.bucket, prefix))


def letters(s3: S3, prefix: str) -> set[str]:
    """The messages of dead letters."""
    keys = [f"{prefix}/{name}" for name in names(s3.bucket, prefix) if name.startswith("dead_letters/")]
    tables = [pq.read_table(io.BytesIO(s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read())) for key in keys]
    return {message for table in tables for message in table["message"].to_pylist()}


def with_support(folder: str) -> str:
    """PYTHONPATH with a folder of tests/support in front."""
    return os.pathsep.join([str(SUPPORT / folder), os.environ.get("PYTHONPATH", "")])


def test_a_node_that_is_killed_costs_no_row_and_doubles_none_from_store_to_store(
    s3: S3, many_recordings: Path, models: Path
) -> None:
    data = s3.put_folder(many_recordings, "sounds")
    words = command(Path("data"), models, Path("out"))
    words[words.index("data")], words[words.index("out")] = data, s3.url("here")
    here = run(words)
    assert here.returncode == 0, here.stderr
    with ray_nodes(1, 1) as nodes:
        job = start(*on_ray(data, models, s3.url("ray"), nodes.address), stdout=subprocess.PIPE)
        assert eventually(lambda: stored_commits(s3, "ray") > 1 or job.poll() is not None)
        nodes.kill(1)
        printed, said = job.communicate(timeout=300)
    assert job.returncode == 0, (said, letters(s3, "ray"))
    assert "(raylet)" not in printed + said
    assert re.search(r"the machine \S+ is lost \(\w+\); others do what it was doing", said), said
    assert digests(s3.bucket, "ray") == digests(s3.bucket, "here")
    proof = run([str(AVIZOR), "verify", s3.url("ray")])
    assert (proof.returncode, "no row is there twice" in proof.stdout) == (0, True), proof.stdout


@pytest.mark.parametrize("victim", ["worker", "both"])
def test_a_worker_killed_between_its_parts_and_their_record_alone_or_with_all_of_its_node_costs_nothing(
    s3: S3, few_recordings: Path, models: Path, tmp_path: Path, victim: str
) -> None:
    data = s3.put_folder(few_recordings, "sounds")
    once = tmp_path / "once"
    killing = {"PYTHONPATH": with_support("killed_before_commit"), "AVIZOR_KILL": victim, "AVIZOR_KILL_ONCE": str(once)}
    with ray_nodes(1, 1, env=killing) as nodes:
        done = run(on_ray(data, models, s3.url("ray"), nodes.address))
    assert (done.returncode, once.exists()) == (0, True), done.stderr
    assert ("is lost" in done.stderr) == (victim == "both")
    assert run([str(AVIZOR), "verify", s3.url("ray")]).returncode == 0


def test_files_that_kill_and_hang_their_workers_are_dead_letters_as_on_one_machine(
    few_recordings: Path, models: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_recordings, data)
    (data / "a" / "kills.wav").write_bytes(b"KILL")
    (data / "a" / "hangs.wav").write_bytes(b"HANG")
    hostile = {"PYTHONPATH": with_support("hostile_files")}
    here = run(command(data, models, tmp_path / "here", "--file-timeout-s", "2"), **hostile)
    assert here.returncode == 3, here.stderr
    with ray_nodes(1, 1, env=hostile) as nodes:
        done = run(on_ray(data, models, tmp_path / "ray", nodes.address, "--file-timeout-s", "2"))
    assert done.returncode == 3, done.stderr
    assert part_digests(tmp_path / "ray") == part_digests(tmp_path / "here")


def test_a_job_that_is_killed_is_resumed_on_the_cluster_and_a_second_one_is_refused_while_it_runs(
    cluster: RayNodes, many_recordings: Path, models: Path, whole_run: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = on_ray(many_recordings, models, out, cluster.address)
    job = start(*words)
    assert eventually(lambda: committed(out) > 0 or job.poll() is not None)
    os.kill(job.pid, signal.SIGSTOP)  # else it may have ended before the second one begins
    second = run(words)
    assert (second.returncode, "another job is running in" in second.stderr) == (1, True), second.stderr
    assert job.poll() is None
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    again = run(words)
    assert again.returncode == 0, again.stderr
    assert part_digests(out) == whole_run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_job_and_its_workers_and_the_cluster_stays(
    cluster: RayNodes, many_recordings: Path, models: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    job = start(*on_ray(many_recordings, models, out, cluster.address))
    assert eventually(lambda: committed(out) > 0 or job.poll() is not None)
    started = [each for node in (0, 1) for each in cluster.processes(node) if "spawn_main" in " ".join(each.cmdline())]
    assert started
    job.send_signal(number)
    _, said = job.communicate(timeout=60)
    assert job.returncode == code, said
    assert f"stopped by {number.name}; finished shards are kept" in said
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert all(psutil.pid_exists(raylet) for raylet in cluster.raylets)


def test_a_cluster_with_a_token_takes_the_right_one_and_a_wrong_one_is_said(
    few_recordings: Path, models: Path, tmp_path: Path
) -> None:
    with ray_nodes(1, env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}) as nodes:
        words = on_ray(few_recordings, models, tmp_path / "out", nodes.address)
        wrong = run(words, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="b" * 40)
        assert wrong.returncode == 1
        assert one_sentence(wrong.stderr), wrong.stderr
        assert (
            f"the Ray cluster at {nodes.address} does not take the token of this machine; set RAY_AUTH_MODE=token"
            in wrong.stderr
        )
        assert not (tmp_path / "out").exists()
        file = tmp_path / "token"
        file.write_text(TOKEN)
        right = run(words, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(file))
        assert right.returncode == 0, right.stderr
        assert TOKEN not in right.stderr + right.stdout + wrong.stderr


def test_a_cluster_that_loses_its_head_ends_the_job_which_goes_on_elsewhere(
    many_recordings: Path, models: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(many_recordings, data)
    (data / "a" / "hangs.wav").write_bytes(b"HANG")  # so that the job is not over too soon
    with ray_nodes(1, 1, env={"PYTHONPATH": with_support("hostile_files")}) as nodes:
        job = start(*on_ray(data, models, out, nodes.address))
        assert eventually(lambda: committed(out) > 5 or job.poll() is not None)
        psutil.Process(nodes.gcs).kill()
        _, said = job.communicate(timeout=120)
        assert job.returncode == 1, said
        assert one_sentence(said), said
        assert f"the head of the Ray cluster at {nodes.address} has been away for 20 s; finished shards are kept" in said
        again = batch(data, models, out)
    assert again.returncode == 3, again.stderr
    assert run([str(AVIZOR), "verify", str(out)]).returncode == 0


def test_a_machine_whose_own_ray_has_ended_ends_the_job(many_recordings: Path, models: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(many_recordings, data)
    (data / "a" / "hangs.wav").write_bytes(b"HANG")  # so that the job is not over too soon
    with ray_nodes(1, 1, env={"PYTHONPATH": with_support("hostile_files")}) as nodes:
        job = start(*on_ray(data, models, out, nodes.address), stdout=subprocess.PIPE)
        assert eventually(lambda: committed(out) > 5 or job.poll() is not None)
        psutil.Process(nodes.raylets[0]).kill()
        printed, said = job.communicate(timeout=120)
    assert job.returncode == 1, said
    assert "(raylet)" not in printed + said
    assert said.splitlines()[-1].startswith(
        "Error: Ray has ended on this machine, and without that it does nothing for the job"
    )


def test_a_node_without_what_the_job_needs_is_said_before_anything_is_computed(
    s3: S3, cluster: RayNodes, few_recordings: Path, models: Path, tmp_path: Path
) -> None:
    def said(*words: object, nodes: RayNodes = cluster) -> str:
        done = run(on_ray(few_recordings, models, tmp_path / "out", nodes.address, *map(str, words)))
        assert done.returncode == 1
        assert one_sentence(done.stderr), done.stderr
        return done.stderr

    # the environment of the nodes knows no store
    done = run(on_ray(few_recordings, models, s3.url("out"), cluster.address))
    assert done.returncode == 1, done.stderr
    assert "are the address and the credentials of the store in the environment in which Ray was started there?" in done.stderr
    other = tmp_path / "other"
    for package in ("inference", "pipeline"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "pipeline" / "avizor_pipeline" / "watch.py").open("a") as file:
        file.write("# another version\n")
    paths = [str(other / "inference"), str(other / "pipeline"), os.environ.get("PYTHONPATH", "")]
    with ray_nodes(1, env={"PYTHONPATH": os.pathsep.join(paths)}) as nodes:
        assert re.search(r"\S+ has other software: Avizor \S+ \(\w+\) \(here \S+ \(\w+\)\); its rows", said(nodes=nodes))
    assert not list((tmp_path / "out" / "windows").glob("*"))
