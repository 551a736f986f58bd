"""Compare a batch job on a Triton server with its floor: Triton alone, kept busy with batches that are there already.

    python benchmarks/batch/on_triton.py [--rounds 3] [--model ae] [--clips N] [--json FILE]

floor: the rows/s of Triton with a client that only sends, the best of batches of 16, 32 and 64 with eight at once; and the CPU
    time of decoding one clip on one thread (soundfile), divided by the cores. A clip needs both, so their times are added.
job: clips/s of `avizor batch --engine triton://`, N clips less N/10.

All by wall time: threads of ONNX Runtime in Triton spin while they wait. Medians over interleaved rounds,
in brackets their range. Exit code 1: the job has less than 0.9 of the floor.
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

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from batch.__main__ import ALONE
from batch.inputs import export_models, write_clips
from batch.measured import CORES, JOB, run, spread
from batch.sound import AUTOENCODER, CLASSIFIER
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
    values: dict[str, list[float]] = {"floor": [], "job": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_models(folder / "models")
        for clips, size in (("few", count // 10), ("many", count)):
            write_clips(folder / clips, size, like=folder / "few")
        with TritonServer(install(), folder / "models") as server:
            for _ in range(options.rounds):
                values["floor"].append(_floor(folder, options.model, server.grpc_url))
                few, many = (_job_s(folder, options.model, server.grpc_url, clips) for clips in ("few", "many"))
                values["job"].append((count - count // 10) / (many - few))
                print(".", end="", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(values))
    ratio = statistics.median(values["job"]) / statistics.median(values["floor"])
    print(f"\n{options.model} on Triton, {count} clips, {CORES} cores: clips/s")
    print(f"floor {spread(values['floor'])}, job {spread(values['job'])}")
    print(f"job / floor: {ratio:.2f}   goal at least {GOAL}: {'reached' if ratio >= GOAL else 'MISSED'}")
    sys.exit(ratio < GOAL)


def _floor(folder: Path, model: str, address: str) -> float:
    """Return clips/s."""
    command: list[str | Path] = [sys.executable, ALONE, "floor", folder / "models", model, folder / "many"]
    decode_s = json.loads(run(command).output)["decode"] / 1e6
    rate = max(_triton_rate(folder / "models", model, address, batch) for batch in BATCHES)
    return float(1 / (decode_s / CORES + 1 / rate))


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


def _job_s(folder: Path, model: str, address: str, clips: str) -> float:
    """Return the seconds of a job."""
    out = folder / "out"
    command: list[str | Path] = [*JOB, folder / clips, "--models", folder / "models", "--model", model]
    done = run([*command, "--out", out, "--workers", str(CORES), "--engine", f"triton://{address}"])
    shutil.rmtree(out)
    return done.seconds


if __name__ == "__main__":
    main()
