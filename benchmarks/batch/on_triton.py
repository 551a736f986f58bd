"""Compare a batch job on a Triton server with its floor: Triton alone, kept busy with batches that are there already.

    python benchmarks/batch/on_triton.py [--rounds 3] [--apart] [--model ae] [--clips N] [--json FILE]

floor: the rows/s of Triton with a client that only sends, the best of batches of 16, 32 and 64 with eight at once; and the CPU
    time of decoding one clip on one thread (soundfile), divided by the cores.
job: clips/s of `avizor batch --engine triton://`, N clips less N/10.
--apart: half of the cores are the server's, and the job, or the floor's client, has the others. A clip then takes as long as
    the slower of both. Without it they share all cores, a clip needs both, and their times are added: the floor is then
    without what the job does beside decoding.

The models have an instance of one thread for each core of the server, which has the most rows/s. All is by wall time. Medians
over interleaved rounds, in brackets their range. Exit code 1: the job has less than 0.9 of the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from batch.__main__ import ALONE
from batch.inputs import export_models, write_clips
from batch.measured import JOB, spread
from batch.sound import AUTOENCODER, CLASSIFIER
from triton_server.install import install
from triton_server.server import TritonServer

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.repository.models import ModelRepository

GOAL = 0.9
BATCHES = (16, 32, 64)
AT_ONCE = 8
# While one finishes its files, the server runs the batches of another.
FEWEST_WORKERS = 2
FLOOR_S = 18.0  # a best of short runs would be one of luck
CLIPS = {AUTOENCODER: 30_000, CLASSIFIER: 6_000}
OUTPUTS = {AUTOENCODER: "score", CLASSIFIER: "probabilities"}


@dataclass(frozen=True)
class Cores:
    """Holds the cores of the server, and those of the job or of the floor's client."""

    server: Sequence[int]
    job: Sequence[int]

    @property
    def apart(self) -> bool:
        """Return whether none is of both."""
        return not set(self.server) & set(self.job)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--model", choices=CLIPS, default=AUTOENCODER)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count, cores = options.clips or CLIPS[options.model], _cores(apart=options.apart)
    values: dict[str, list[float]] = {"floor": [], "job": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_models(folder / "models", serving={"instances": len(cores.server), "intra_op_threads": 1})
        for clips, size in (("few", count // 10), ("many", count)):
            write_clips(folder / clips, size, like=folder / "few")
        os.sched_setaffinity(0, cores.server)
        with TritonServer(install(), folder / "models") as server:
            os.sched_setaffinity(0, cores.job)
            for _ in range(options.rounds):
                values["floor"].append(_floor(folder, options.model, server.grpc_url, cores))
                few, many = (_job_s(folder, options.model, server.grpc_url, cores, clips) for clips in ("few", "many"))
                values["job"].append((count - count // 10) / (many - few))
                print(".", end="", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(values))
    sys.exit(_print(f"{options.model} on Triton, {count} clips, {_said(cores)}", values))


def _cores(*, apart: bool) -> Cores:
    every = sorted(os.sched_getaffinity(0))
    if not apart:
        return Cores(every, every)
    if len(every) < 2:
        sys.exit("--apart needs two cores or more")
    return Cores(every[: len(every) // 2], every[len(every) // 2 :])


def _said(cores: Cores) -> str:
    return f"{len(cores.server)} cores for the server, {len(cores.job)} for the job{'' if cores.apart else ', the same'}"


def _print(title: str, values: dict[str, list[float]]) -> bool:
    """Print the table; return whether the goal is missed."""
    ratio = statistics.median(values["job"]) / statistics.median(values["floor"])
    print(f"\n{title}: clips/s")
    print(f"floor {spread(values['floor'])}, job {spread(values['job'])}")
    print(f"job / floor: {ratio:.2f}   goal at least {GOAL}: {'reached' if ratio >= GOAL else 'MISSED'}")
    return ratio < GOAL


def _floor(folder: Path, model: str, address: str, cores: Cores) -> float:
    """Return clips/s."""
    command: list[str | Path] = [sys.executable, ALONE, "floor", folder / "models", model, folder / "many"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    decode_s = json.loads(done.stdout)["decode"] / 1e6 / len(cores.job)
    run_s = 1 / max(_triton_rate(folder / "models", model, address, batch) for batch in BATCHES)
    together_s = max(decode_s, run_s) if cores.apart else decode_s + run_s
    return float(1 / together_s)


def _triton_rate(models: Path, model: str, address: str, batch: int) -> float:
    """Return the rows/s of Triton, kept busy with rows that are there already."""
    repository = ModelRepository(models)
    tensor = repository.version(model).manifest.input.tensor()
    rows = np.random.default_rng(0).standard_normal((batch, *tensor.item_shape)).astype(tensor.dtype)
    request = InferRequest(model, {tensor.name: rows}, [OUTPUTS[model]])
    running: deque[Future[dict[str, Any]]] = deque()
    with open_engine(f"triton://{address}", repository) as engine:
        engine.infer(request)
        started, done = time.monotonic(), 0
        while time.monotonic() < started + FLOOR_S / len(BATCHES):
            running.append(engine.submit(request))
            if len(running) == AT_ONCE:
                running.popleft().result()
            done += batch
        for each in running:
            each.result()
        return done / (time.monotonic() - started)


def _job_s(folder: Path, model: str, address: str, cores: Cores, clips: str) -> float:
    """Return the seconds of a job. Its memory is not looked at, which takes a part of a core."""
    out = folder / "out"
    command: list[str | Path] = [*JOB, folder / clips, "--models", folder / "models", "--model", model]
    started = time.monotonic()
    subprocess.run(
        [*command, "--out", out, "--workers", str(max(FEWEST_WORKERS, len(cores.job))), "--engine", f"triton://{address}"],
        check=True,
        capture_output=True,
    )
    seconds = time.monotonic() - started
    shutil.rmtree(out)
    return seconds


if __name__ == "__main__":
    main()
