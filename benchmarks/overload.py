"""Offer a gateway more calls than it can answer, and print what becomes of them as a table.

    python benchmarks/overload.py [--seconds 8] [--models slow,r18,lenet] [--engine ort] [--out FILE]

Calls are sent at random times at a given rate, whatever becomes of those before them, as many independent clients do: an open
loop. The rate is a multiple of the gateway's capacity, which is measured first with 32 callers that wait for their answers.
What ends in the first seconds is not counted: the queue has to fill first. Server and clients share the cores, so for a fast
model what the clients take limits both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import TensorInput

CLASSIFY = "/avizor.v1.InferenceService/Classify"
DEADLINE_S = 5.0
FACTORS = (0.5, 1, 2, 4, 8)
WARM_UP_S = 3.0
CALLERS, CHANNELS = 32, 4

# Shape of one item, float32. `slow` is the same network as `r18` on four times as many pixels.
MODELS = {"slow": (1, 128, 192), "r18": (1, 64, 96), "lenet": (1, 32, 32)}


def main() -> None:
    """Print one table for all models."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--engine", default="ort")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--generate", nargs=3, metavar=("ADDRESS", "REQUEST_FILE", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        address, request, rate = options.generate
        print(json.dumps(asyncio.run(_generate(address, Path(request).read_bytes(), float(rate), options.seconds))))
        return
    lines = [
        "| model | offered | calls/s offered | answered/s | of the peak | p50, p99, ms | refused | their p99, ms | failed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            lines += _rows(name, Path(folder), options.engine, options.seconds)
    table = "\n".join(lines) + "\n"
    print(table)
    if options.out:
        options.out.write_text(table)


def _rows(name: str, folder: Path, engine: str, seconds: float) -> list[str]:
    _export(name, folder / "models")
    request = folder / "request"
    request.write_bytes(_request(name))
    with _gateway(folder / "models", engine) as address:

        def load(rate: float) -> dict[str, list[float]]:
            command = [sys.executable, __file__, "--seconds", str(seconds), "--generate", address, str(request), str(rate)]
            answer: dict[str, list[float]] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            return answer

        capacity = len(load(0)["OK"]) / seconds
        runs = {factor: load(factor * capacity) for factor in FACTORS}
    peak = max(len(run["OK"]) for run in runs.values())
    return [_row(name, factor, run, seconds, peak) for factor, run in runs.items()]


def _row(name: str, factor: float, run: dict[str, list[float]], seconds: float, peak: int) -> str:
    offered = sum(map(len, run.values()))
    answers, refusals = run["OK"], run["RESOURCE_EXHAUSTED"]
    failed = {code: len(times) for code, times in run.items() if code not in ("OK", "RESOURCE_EXHAUSTED") and times}
    print(f"{name} {factor}: {len(answers)} of {offered}, {failed}", file=sys.stderr)
    cells = (
        f"{factor:g}x",
        f"{offered / seconds:.0f}",
        f"{len(answers) / seconds:.1f}",
        f"{len(answers) / peak:.2f}",
        f"{_percentile(answers, 50)}, {_percentile(answers, 99)}",
        f"{len(refusals) / offered:.0%}",
        _percentile(refusals, 99),
        ", ".join(f"{count} {code}" for code, count in failed.items()) or "0",
    )
    return f"| {name} | {' | '.join(cells)} |"


def _percentile(seconds: list[float], percent: int) -> str:
    if len(seconds) < 2:
        return "-"
    return f"{statistics.quantiles(seconds, n=100, method='inclusive')[percent - 1] * 1000:.0f}"


async def _generate(address: str, request: bytes, rate: float, seconds: float) -> dict[str, list[float]]:
    """Send calls for some time; return the seconds that each took, by its code. rate: calls a second; 0: CALLERS callers."""
    took: dict[str, list[float]] = {"OK": [], "RESOURCE_EXHAUSTED": []}
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(CHANNELS)]
        calls = [channel.unary_unary(CLASSIFY) for channel in channels]

        async def ask(number: int) -> None:
            begin, code = time.perf_counter(), "OK"
            try:
                await calls[number % CHANNELS](request, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            if warm < (now := time.perf_counter()) < end:
                took.setdefault(code, []).append(now - begin)

        async def ask_again(number: int) -> None:
            while time.perf_counter() < end:
                await ask(number)

        await asyncio.gather(*(call(request) for call in calls))
        at = time.perf_counter()
        warm, end = at + WARM_UP_S, at + WARM_UP_S + seconds
        if not rate:
            await asyncio.gather(*(ask_again(number) for number in range(CALLERS)))
            return took
        draw, number = random.Random(0), 0
        async with asyncio.TaskGroup() as group:
            while at < end:
                at += draw.expovariate(rate)
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                group.create_task(ask(number))
                number += 1
    return took


def _export(name: str, folder: Path) -> None:
    torch.manual_seed(0)
    network: nn.Module = LeNet()
    if name != "lenet":
        network = resnet18(num_classes=10)
        network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    spec = TensorInput(name="item", item_shape=MODELS[name])
    export_model(network.eval(), ExportRequest(name, "classify", spec, labels=list("0123456789")), folder)


def _request(name: str) -> bytes:
    values = np.random.default_rng(0).standard_normal(MODELS[name], dtype=np.float32)
    tensor = pb.Tensor(dtype="float32", shape=MODELS[name], data=values.tobytes())
    return bytes(pb.ClassifyRequest(model=name, items=[pb.Item(tensor=tensor)]).SerializeToString())


@contextlib.contextmanager
def _gateway(models: Path, engine: str) -> Iterator[str]:
    avizor = str(Path(sys.executable).with_name("avizor"))
    command = [avizor, "serve", "--models", str(models), "--engine", engine, "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AVIZOR_SERVE")}
    with subprocess.Popen([*command, "--metrics-port", "0"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            match = re.match(r"serving gRPC on (\S+),", process.stdout.readline())
            assert match, "the gateway did not start"
            yield match[1]
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
