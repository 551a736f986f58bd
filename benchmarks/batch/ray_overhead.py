"""Measure what Ray costs a batch job: its start, its memory, and the way of a shard to a worker and back.

    PYTHONPATH=tests python benchmarks/batch/ray_overhead.py [--rounds 3] [--clips 650]

It prints medians over interleaved rounds, in brackets their range:

start: seconds from the command to the first commit record, with an autoencoder on log-mels and two workers: on this machine
    without Ray, on a Ray that the job starts itself, and on a Ray that runs already.
memory: PSS of all processes together, at their peak, and what is Ray's own of it while no job runs: its head, and one machine.
shard: the time of a call that carries a shard of 256 files to an actor, which does nothing, and brings its answer back.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
from batch.inputs import export_autoencoder, write_clips
from batch.measured import JOB
from batch.sound import AUTOENCODER, SOUND
from support.ray_nodes import RayNodes, ray_nodes, short_folder

from avizor_inference.items.dataset import Entry
from avizor_pipeline.runners.ray_node import to_arguments
from avizor_pipeline.sharding import Shard

_LOOK_S = 0.1
_CALLS = 200

# Way -> measure -> one value for each round.
Results = dict[str, dict[str, list[float]]]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=650)
    options = parser.parse_args()
    results: Results = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_autoencoder(folder / "models", SOUND, "")
        write_clips(folder / "clips", options.clips)
        for _ in range(options.rounds):
            _job(results["this machine"], folder, [])
            with short_folder() as os.environ["RAY_TMPDIR"]:  # no other cluster of this machine is found
                _job(results["Ray, started by the job"], folder, ["--runner", "ray"])
            with ray_nodes(1, 1) as nodes:
                _own(results["Ray alone"], nodes)
                _job(results["Ray, running"], folder, ["--runner", "ray", "--ray-address", nodes.address], nodes)
                results["a shard there and back"]["ms"].append(_calls(nodes.address))
            print(".", end="", file=sys.stderr, flush=True)
    print("\n| | measure | median (range) |\n|---|---|---:|")
    for way, measures in results.items():
        for measure, values in measures.items():
            middle, low, high = (f"{value:,.1f}" for value in (statistics.median(values), min(values), max(values)))
            print(f"| {way} | {measure} | {middle} ({low}-{high}) |")


def _job(way: dict[str, list[float]], folder: Path, more: list[str], nodes: RayNodes | None = None) -> None:
    """Run a job, and take note of its first commit record, of its end, and of its memory with that of the nodes."""
    out = folder / "out"
    command = [
        *JOB,
        folder / "clips",
        "--models",
        folder / "models",
        "--model",
        AUTOENCODER,
        "--out",
        out,
        "--workers",
        "2",
        *more,
    ]
    began, first, peak = time.monotonic(), 0.0, 0.0
    process = psutil.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if not first and any((out / "commits").glob("*.json")):
            first = time.monotonic() - began
        peak = max(peak, _pss([process, *process.children(recursive=True)]) + (_of_nodes(nodes) if nodes else 0))
        time.sleep(_LOOK_S)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {' '.join(map(str, command))}")
    way["s to the first shard"].append(first)
    way["s to the end"].append(time.monotonic() - began)
    way["peak MiB"].append(peak)
    shutil.rmtree(out)


def _own(way: dict[str, list[float]], nodes: RayNodes) -> None:
    way["MiB of a machine"].append(_pss(nodes.processes(1)))
    way["MiB of the head, besides its machine"].append(_of_nodes(nodes) - _pss(nodes.processes(0)) - _pss(nodes.processes(1)))


def _of_nodes(nodes: RayNodes) -> float:
    """Return the MiB of all processes of a cluster. The process that has started it is no part of it."""
    return _pss(psutil.Process(psutil.Process(nodes.gcs).ppid()).children(recursive=True))


def _pss(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss / 2**20
        except psutil.Error:  # it has ended
            continue
    return total


def _calls(address: str) -> float:
    """Return the median of the milliseconds of a call with a shard of 256 files."""
    names = [f"/data/sounds/2026/{number:06d}.wav" for number in range(256)]
    entries = tuple(Entry(name, name, "a", 16_000, number) for number, name in enumerate(names))
    script = f"""
import pickle, statistics, sys, time, ray
arguments = pickle.load(sys.stdin.buffer)
ray.init(address={address!r}, configure_logging=False, log_to_driver=False)
class Node:
    def run(self, *parts): return len(parts)
node = ray.remote(Node).remote()
ray.get(node.run.remote(*arguments))
times = []
for _ in range({_CALLS}):
    began = time.perf_counter()
    ray.get(node.run.remote(*arguments))
    times.append(time.perf_counter() - began)
print(1000 * statistics.median(times))
"""
    arguments = pickle.dumps(to_arguments(Shard("0" * 16, entries)))
    done = subprocess.run([sys.executable, "-c", script], input=arguments, capture_output=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
