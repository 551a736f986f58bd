"""Start a Ray cluster of several nodes on this machine, in a process of its own, and end single nodes of it.

As a program it starts the nodes whose cores its arguments give, prints a line of JSON, and ends them when its input ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# Ray's least.
_OBJECT_STORE = 80 * 2**20


@dataclass(frozen=True)
class RayNodes:
    """A running cluster. raylets: process of each node, the head's first. gcs: process of the head that knows the nodes."""

    address: str
    raylets: tuple[int, ...]
    gcs: int

    def processes(self, number: int) -> list[psutil.Process]:
        """All processes of a node: what Ray has started, and workers of jobs."""
        raylet = psutil.Process(self.raylets[number])
        return [raylet, *raylet.children(recursive=True)]

    def kill(self, number: int) -> None:
        """End all processes of a node at once, as when its machine loses power."""
        for process in self.processes(number):
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def ray_nodes(*cores: int, env: Mapping[str, str] | None = None, folder: Path | None = None) -> Iterator[RayNodes]:
    """A cluster with one node for each number of cores. env: of the nodes, besides that of this process."""
    with short_folder() as temporary:
        yield from _nodes(cores, {"RAY_TMPDIR": temporary, **(env or {})}, folder)


@contextmanager
def short_folder() -> Iterator[str]:
    """A folder for RAY_TMPDIR, where Ray finds the cluster of a machine. The name of a socket has 107 characters at most."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nodes(cores: Sequence[int], env: Mapping[str, str], folder: Path | None) -> Iterator[RayNodes]:
    program = [sys.executable, __file__, *map(str, cores)]
    process = subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
        env={**os.environ, **env}, start_new_session=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        said = json.loads(process.stdout.readline())
        yield RayNodes(said["address"], tuple(said["raylets"]), said["gcs"])
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.stdout.close()
        for each in [*below, psutil.Process(process.pid)] if process.poll() is None else below:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def _main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    said, sys.stdout = sys.stdout, sys.stderr
    cluster = Cluster()
    nodes = [
        cluster.add_node(num_cpus=int(cores), object_store_memory=_OBJECT_STORE, include_dashboard=False, wait=False)
        for cores in sys.argv[1:]
    ]
    cluster.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    gcs = nodes[0].all_processes["gcs_server"][0].process.pid
    print(json.dumps({"address": cluster.address, "raylets": raylets, "gcs": gcs}), file=said, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    _main()
