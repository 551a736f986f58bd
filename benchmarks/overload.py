"""Offer a gateway more calls than it can answer, and print what becomes of them as a table.

    python benchmarks/overload.py [--seconds 8] [--models slow,r18,lenet] [--engine ort] [--out FILE]

Calls are sent at random times at a given rate, whatever becomes of those before them, as many independent clients do: an open
loop. The rate is a multiple of the gateway's capacity, which is measured first with 32 callers that wait for their answers.
What ends in the first seconds is not counted: the queue has to fill first. The clients have the last core to themselves, if
there are several, and the gateway has the others: else what the clients take would be missing for the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
from serving.models import LENET, R18, SLOW, export
from serving.servers import CLASSIFY, gateway

DEADLINE_S = 5.0
FACTORS = (0.5, 1, 2, 4, 8)
WARM_UP_S = 3.0
CALLERS, CHANNELS = 32, 8

MODELS = {model.name: model for model in (SLOW, R18, LENET)}


def main() -> None:
    """Print one table for all models."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--engine", default="ort")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--generate", nargs=3, metavar=("ADDRESS", "REQUEST_FILE", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        address, request, rate = options.generate
        os.sched_setaffinity(0, {options.core})
        print(json.dumps(asyncio.run(_generate(address, Path(request).read_bytes(), float(rate), options.seconds))))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:-1] or cores)  # of the gateway, which inherits it
    lines = [
        "| model | offered | calls/s offered | answered/s | of the peak | p50, p99, ms | refused | their p99, ms | failed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            lines += _rows(name, Path(folder), options.engine, options.seconds, cores[-1])
    table = "\n".join(lines) + "\n"
    print(table)
    if options.out:
        options.out.write_text(table)


def _rows(name: str, folder: Path, engine: str, seconds: float, core: int) -> list[str]:
    model, request = MODELS[name], folder / "request"
    export(model, folder / "models")
    request.write_bytes(model.for_gateway())
    with gateway(folder / "models", engine, []) as served:

        def load(rate: float) -> dict[str, list[float]]:
            command = [
                sys.executable,
                __file__,
                "--seconds",
                str(seconds),
                "--core",
                str(core),
                "--generate",
                served.address,
                str(request),
                str(rate),
            ]
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


if __name__ == "__main__":
    main()
