"""Compare a batch job on a Triton server with its floor: Triton alone, kept busy with batches that are there already.

    python benchmarks/batch/on_triton.py [--rounds 3] [--model ae] [--clips N] [--json FILE]

floor: the CPU time of decoding one clip on one thread (soundfile), and that for a row of Triton and of a client that only
    sends: the best of batches of 16, 32 and 64, with eight at once.
job: `avizor batch --engine triton://`, N clips less N/10: the CPU time of the job and of Triton together, and clips/s.

Medians over interleaved rounds, in brackets their range. Exit code 1: the job is under 0.9 of the floor, by CPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from batch.__main__ import ALONE, CORES, JOB
from batch.inputs import AUTOENCODER, CLASSIFIER, export_models, write_clips
from batch.measured import run
from triton_server.install import install
from triton_server.server import TritonServer

from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.repository.models import ModelRepository

GOAL = 0.9
BATCHES = (16, 32, 64)
AT_ONCE = 8
FLOOR_S = 6.0
CLIPS = {AUTOENCODER: 30_000, CLASSIFIER: 6_000}
OUTPUTS = {AUTOENCODER: "score", CLASSIFIER: "probabilities"}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=CLIPS, default=AUTOENCODER)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = options.clips or CLIPS[options.model]
    values: dict[str, list[float]] = {"floor us": [], "job us": [], "job/s": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_models(folder / "models")
        for clips, size in (("few", count // 10), ("many", count)):
            write_clips(folder / clips, size, like=folder / "few")
        with TritonServer(install(), folder / "models") as server:
            process = psutil.Process(server.pid)
            for _ in range(options.rounds):
                values["floor us"].append(_floor_us(folder, options.model, server.grpc_url, process))
                cpu_us, rate = _job(folder, options.model, server.grpc_url, process, count)
                values["job us"].append(cpu_us)
                values["job/s"].append(rate)
                print(".", end="", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(values))
    ratio = statistics.median(values["floor us"]) / statistics.median(values["job us"])
    print(f"\n{options.model} on Triton, {count} clips, {CORES} cores: CPU us a clip, floor {_range(values['floor us'])}, ")
    print(f"job {_range(values['job us'])}; clips/s {_range(values['job/s'])}")
    print(f"floor / job, CPU: {ratio:.2f}   goal at least {GOAL}: {'reached' if ratio >= GOAL else 'MISSED'}")
    sys.exit(ratio < GOAL)


def _floor_us(folder: Path, model: str, address: str, server: psutil.Process) -> float:
    command: list[str | Path] = [sys.executable, ALONE, "floor", folder / "models", model, folder / "many"]
    decode = float(json.loads(run(command).output)["decode"])
    return decode + min(_triton_us(folder / "models", model, address, server, batch) for batch in BATCHES)


def _triton_us(models: Path, model: str, address: str, server: psutil.Process, batch: int) -> float:
    """Return the CPU time of Triton and of this process for a row, in microseconds."""
    repository = ModelRepository(models)
    tensor = repository.version(model).manifest.input.tensor()
    rows = np.random.default_rng(0).standard_normal((batch, *tensor.item_shape)).astype(tensor.dtype)
    request = InferRequest(model, {tensor.name: rows}, [OUTPUTS[model]])
    running: deque[Future[dict[str, Any]]] = deque()
    with open_engine(f"triton://{address}", repository) as engine:
        engine.infer(request)
        before, started, done = _cpu(server) + time.process_time(), time.monotonic(), 0
        while time.monotonic() < started + FLOOR_S / len(BATCHES):
            running.append(engine.submit(request))
            if len(running) == AT_ONCE:
                running.popleft().result()
            done += batch
        for each in running:
            each.result()
        return 1e6 * (_cpu(server) + time.process_time() - before) / done


def _job(folder: Path, model: str, address: str, server: psutil.Process, count: int) -> tuple[float, float]:
    """Return the marginal CPU time of a clip in microseconds, and clips/s by wall time."""
    costs = []
    for clips in ("few", "many"):
        before, out = _cpu(server), folder / "out"
        command: list[str | Path] = [*JOB, folder / clips, "--models", folder / "models", "--model", model]
        done = run([*command, "--out", out, "--workers", str(CORES), "--engine", f"triton://{address}"])
        shutil.rmtree(out)
        costs.append((done.cpu_s + _cpu(server) - before, done.seconds))
    (few_cpu, few_s), (many_cpu, many_s) = costs
    more = count - count // 10
    return 1e6 * (many_cpu - few_cpu) / more, more / (many_s - few_s)


def _cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


if __name__ == "__main__":
    main()
