"""A batch job on Ray: the cheap proofs. Those that end nodes are in test_ray_clusters.py."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from integration.jobs import AVIZOR, batch, command, eventually, one_sentence, part_digests
from support.environment import ROOT
from support.ray_nodes import short_folder
from support.warm_starts import warm_run

pytest.importorskip("ray")


def test_a_job_on_a_cluster_that_it_starts_itself_writes_the_bytes_of_one_on_this_machine(
    few_recordings: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, ray = tmp_path / "here", tmp_path / "ray"
    (few_recordings / "a" / "bad.wav").write_text("no sound")
    try:
        assert batch(few_recordings, models, here).returncode == 3
        with short_folder() as temporary:
            monkeypatch.setenv("RAY_TMPDIR", temporary)  # another test's cluster is not found
            monkeypatch.delenv("RAY_ADDRESS", raising=False)
            done = batch(few_recordings, models, ray, "--runner", "ray")
    finally:
        (few_recordings / "a" / "bad.wav").unlink()
    assert done.returncode == 3, done.stderr
    assert "no Ray cluster runs on this machine: one is started for this job, with 2 cores" in done.stderr
    assert part_digests(ray) == part_digests(here)
    proof = warm_run([str(AVIZOR), "verify", str(ray)])
    assert proof.returncode == 0, proof.stdout
    assert not [name for name in os.listdir() if "ray" in name]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--runner", "ray", "--ray-address", "127.0.0.1:{closed}"],
            "no Ray cluster answers at 127.0.0.1:{closed}; start its head",
        ),
        (["--runner", "ray", "--ray-address", "head"], "--ray-address head: write it like HOST:6379"),
        (["--runner", "ray", "--ray-address", "ray://head:10001"], "the job runs on a machine of the cluster"),
        (["--ray-address", "head:6379"], "--ray-address is for --runner ray"),
    ],
)
def test_an_address_that_cannot_be_used_is_said_at_once(
    few_recordings: Path, models: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        done = batch(few_recordings, models, tmp_path / "out", *(option.format(closed=port) for option in options))
    assert done.returncode == 1
    assert one_sentence(done.stderr)
    assert says.format(closed=port) in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cluster_that_is_too_slow_to_start_is_said(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    """Ray waits 30 seconds for its raylet, which is stopped as soon as it is there."""
    with short_folder() as temporary:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"RAY_TMPDIR": temporary}
        job = subprocess.Popen(
            [*command(few_recordings, models, tmp_path / "out"), "--runner", "ray"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert eventually(lambda: any(map(_stop_raylet, psutil.Process(job.pid).children(recursive=True))))
        _, said = job.communicate(timeout=120)
    assert job.returncode == 1
    assert "Error: Ray cannot be started on this machine: The current node timed out during startup" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def _stop_raylet(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        if process.name() == "raylet":
            process.suspend()
            return True
    return False


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_server_that_is_no_head_of_a_cluster_is_said(
    answer: bytes, few_recordings: Path, models: Path, tmp_path: Path
) -> None:
    """Such as that of the dashboard. Ray itself would try for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    open_ones.append(connection)
                    connection.sendall(answer)

        open_ones: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = batch(few_recordings, models, tmp_path / "out", "--runner", "ray", "--ray-address", address)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in open_ones:
        connection.close()
    assert done.returncode == 1
    assert one_sentence(done.stderr)
    assert f"what answers at {address} is not the head of a Ray cluster; give its port, which is 6379" in done.stderr


def test_without_ray_the_error_names_the_extra(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    words = command(few_recordings, models, tmp_path / "out", "--runner", "ray")
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 1
    assert one_sentence(done.stderr)
    assert "--runner ray needs ray, which is not installed; pip install 'avizor[ray]'" in done.stderr
