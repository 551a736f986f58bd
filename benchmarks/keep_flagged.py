"""Measure what keeping flagged items costs a call: two gateways, one with --keep-flagged, asked in turn in one run.

    python benchmarks/keep_flagged.py [--models DIR] [--rounds 15] [--calls 200]

Without --models it exports the small models of the tests. Every call has one recording of three windows of half a second.
Either every twentieth is flagged, as alpha 0.05 promises of normal ones, or all are, which is the worst case. Prints medians
of the rounds of the two gateways, and of their ratios, with the quartiles: time of a call (one client, which waits for each
answer) and processor time of all of the gateway's processes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from integration.gateway import Stub, gateway, normal, odd
from support.small_models import export_small_models

from avizor.v1 import inference_pb2 as pb


@contextmanager
def quiet_gateway(models: Path, *options: object) -> Iterator[tuple[psutil.Process, Stub]]:
    """Run a gateway that writes no line for a call."""
    with (
        gateway(models, "--alpha", 0.05, "--log-calls", "none", *options) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield psutil.Process(running.process.pid), running.stub(channel)


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and its children."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


def round_of(process: psutil.Process, stub: Stub, requests: list[pb.DetectAnomalyRequest]) -> tuple[float, float, int]:
    """Return milliseconds of a call (median), processor milliseconds of a call, and flagged items."""
    before, times, flagged = processor_seconds(process), list[float](), 0
    for request in requests:
        start = time.perf_counter()
        answer = stub.DetectAnomaly(request)
        times.append(time.perf_counter() - start)
        flagged += sum(item.is_anomaly for item in answer.items)
    time.sleep(1.5)  # what waits is written, and counts
    return 1000 * float(np.median(times)), 1000 * (processor_seconds(process) - before) / len(requests), flagged


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=200)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = chosen.models or folder / "models"
        if not chosen.models:
            export_small_models(models)
        off = stack.enter_context(quiet_gateway(models))
        on = stack.enter_context(quiet_gateway(models, "--keep-flagged", folder / "kept"))
        usual, strange = normal(), odd()
        print(f"{'':28} {'off':>8} {'on':>8} {'on / off, median (quartiles)':>32}")
        for name, every in (("every 20th flagged", 20), ("all flagged", 1)):
            sounds = [strange if number % every == 0 else usual for number in range(chosen.calls)]
            requests = [pb.DetectAnomalyRequest(model="normal", items=[pb.Item(source="a", audio=sound)]) for sound in sounds]
            rounds = [(round_of(*off, requests), round_of(*on, requests)) for _ in range(chosen.rounds + 1)]
            values = np.array([[pair[0][:2], pair[1][:2]] for pair in rounds[1:]])  # the first one warms up
            for place, what in enumerate(("time of a call, ms", "processor time, ms")):
                without, kept = values[:, 0, place], values[:, 1, place]
                low, middle, high = np.quantile(kept / without, (0.25, 0.5, 0.75))
                ratio = f"{middle:.3f} ({low:.3f} to {high:.3f})"
                print(f"{name + ', ' + what:28} {np.median(without):8.3f} {np.median(kept):8.3f} {ratio:>32}", flush=True)


if __name__ == "__main__":
    main()
