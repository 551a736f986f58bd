"""Compare the embedded engine on a GPU with the CPU of the same machine: rows/s by the size of a call.

    python benchmarks/gpu.py MODELS MODEL... [--rounds 7] [--seconds 0.3]

MODELS is a model repository. Prints medians of interleaved rounds (lowest to highest), and the median of the ratios.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from avizor_export.parity.probe_items import random_items
from avizor_inference.arrays import Items
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.device import Device
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.repository.models import ModelRepository, ModelVersion

DEVICES: tuple[Device, ...] = ("cpu", "cuda")
BATCH_SIZES = (1, 32, 64)
WARM_UP_CALLS = 3


def rows_per_second(engine: EmbeddedEngine, request: InferRequest, seconds: float) -> float:
    """Return the rows/s of one caller, after calls that warm up."""
    (items,) = request.inputs.values()
    for _ in range(WARM_UP_CALLS):
        engine.infer(request)
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        engine.infer(request)
        calls += 1
    return calls * len(items) / (time.perf_counter() - began)


def measure(repository: ModelRepository, version: ModelVersion, rounds: int, seconds: float) -> None:
    """Print a row of the table for each size of a call."""
    items: Items = random_items(version.manifest.input, max(BATCH_SIZES))
    name, output = version.manifest.input.tensor().name, version.manifest.outputs[0].name
    engines = {device: EmbeddedEngine(repository, device=device) for device in DEVICES}
    rates: dict[tuple[Device, int], list[float]] = {}
    for _ in range(rounds):
        for device, engine in engines.items():
            for size in BATCH_SIZES:
                request = InferRequest(version.name, {name: items[:size]}, [output])
                rates.setdefault((device, size), []).append(rows_per_second(engine, request, seconds))
    for size in BATCH_SIZES:
        cpu, cuda = (rates[device, size] for device in DEVICES)
        ratio = median(fast / slow for fast, slow in zip(cuda, cpu, strict=True))
        print(f"| {version.name} | {size} | {_spread(cpu)} | {_spread(cuda)} | {ratio:.2f} |", flush=True)
    for engine in engines.values():
        engine.close()


def _spread(rates: list[float]) -> str:
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("names", nargs="+", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3)
    arguments = parser.parse_args()
    print("| model | rows of a call | CPU, rows/s | GPU, rows/s | GPU / CPU |\n|---|---:|---:|---:|---:|")
    repository = ModelRepository(arguments.models)
    for name in arguments.names:
        measure(repository, repository.version(name), arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
