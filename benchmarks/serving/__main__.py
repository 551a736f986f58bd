"""Compare the gateway with other servers: requests/s, latency and CPU time of batch-1 requests at several concurrencies.

    python benchmarks/serving [--rounds 3] [--seconds 4] [--mlserver-python PATH] [--only NAME,NAME] [--json FILE]

Every server is started in this run, the rounds are interleaved, and clients share the cores with the servers. Prints the
medians over the rounds with their range, and the ratios that docs/benchmarks.md states. Triton serves models as exported, or,
where a name ends in -each-core, with an instance of one thread for each core. Without --mlserver-python (the Python of an
environment with mlserver and onnxruntime; `make bench-serving` makes one) or without nginx, their rows are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from serving import servers
from serving.models import LENET, R18, BenchModel, export
from serving.servers import Served

from avizor_inference.this_machine import usable_cores

CONCURRENCIES = (1, 8, 32)

# Of the load generator, where the gateway has several workers, and where it has one to compare with: the system spreads
# connections over workers, and not calls.
CONNECTIONS = 16

# The repository of the same models for a Triton with an instance of one thread for each core.
EACH_CORE = "models-each-core"

# Goals at concurrency 32, by model: of MLServer's best, of the better bare server. Of the typed Classify, and of ModelInfer.
GOALS = {LENET.name: (1.8, 0.75), R18.name: (None, 0.9)}
OPEN_INFERENCE_GOALS = {LENET.name: (2.0, 0.8), R18.name: (None, None)}
FRONT_DOOR_GOALS = {LENET.name: 0.80, R18.name: 0.95}


@dataclass(frozen=True)
class Result:
    """Holds one measurement: requests/s, latencies in ms, and the server's CPU time of a request in us, also by its parts."""

    rate: float
    p50: float
    p99: float
    cpu_us: float
    parts_us: dict[str, float]


Open = Callable[[Path], AbstractContextManager[Served]]


def main() -> None:
    """Measure, print the tables, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--mlserver-python", type=lambda text: Path(text).absolute())  # MLServer starts in another folder
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--model", choices=[LENET.name, R18.name], action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, dict[int, list[Result]]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in (LENET, R18):
            export(model, folder / "models")
            export(model, folder / EACH_CORE, intra_op_threads=1, instances=usable_cores())
        for model in (LENET, R18):
            if not options.model or model.name in options.model:
                opened = dict(_servers(model, folder, options.mlserver_python, options.only))
                results[model.name] = _measure(model, opened, folder, options.rounds, options.seconds)
                _print_table(model, results[model.name])
    if options.json:
        options.json.write_text(json.dumps(results, default=vars))
    sys.exit(1 if _print_ratios(results) else 0)


def _servers(model: BenchModel, exported: Path, mlserver_python: Path | None, only: list[str]) -> Iterator[tuple[str, Open]]:
    """Yield the name of each server, and what opens it in a folder of its own. exported: the repositories."""
    models = exported / "models"
    file = models / model.name / "1" / "model.onnx"

    @contextlib.contextmanager
    def on_triton(folder: Path, *, door: bool = False, gateway: bool = False, each_core: bool = False) -> Iterator[Served]:
        with servers.triton(exported / EACH_CORE if each_core else models) as triton:
            if gateway:
                with servers.gateway(models, f"triton://{triton.address}", triton.processes) as served:
                    yield served
            elif door:
                with servers.front_door(triton, folder) as served:
                    yield served
            else:
                yield triton

    every: dict[str, Open] = {
        "triton": on_triton,
        "front-door": partial(on_triton, door=True),
        "gateway-triton": partial(on_triton, gateway=True),
        "triton-each-core": partial(on_triton, each_core=True),
        "front-door-each-core": partial(on_triton, door=True, each_core=True),
        "gateway": lambda _: servers.gateway(models, "ort", []),
        "gateway-unlogged": lambda _: servers.gateway(models, "ort", [], "--log-calls", "none"),
        "gateway-oip": lambda _: servers.gateway(models, "ort", [], method=servers.MODEL_INFER),
        "gateway-http-binary": lambda _: servers.gateway(
            models, "ort", [], method=model.path, metadata=model.for_http(binary=True)[1]
        ),
        "gateway-http-json": lambda _: servers.gateway(models, "ort", [], method=model.path),
        "gateway-1-worker": lambda _: servers.gateway(models, "ort", [], connections=CONNECTIONS),
        "gateway-2-workers": lambda _: servers.gateway(models, "ort", [], "--workers", "2", connections=CONNECTIONS),
        "bare-inline": lambda _: servers.bare("inline", file, model.shape),
        "bare-batching": lambda _: servers.bare("batching", file, model.shape),
        "bare-sync": lambda _: servers.bare("sync", file, model.shape),
    }
    if mlserver_python:
        for name, batching in (("mlserver", False), ("mlserver-batching", True)):
            every[name] = partial(servers.mlserver, mlserver_python, model.name, file, batching=batching)
    else:
        print("MLServer is left out: give --mlserver-python")
    if shutil.which("nginx") is None:
        print("the front door is left out: nginx is not installed")
        del every["front-door"], every["front-door-each-core"]
    yield from ((name, open) for name, open in every.items() if not only or name in only)


def _measure(
    model: BenchModel, opened: dict[str, Open], folder: Path, rounds: int, seconds: float
) -> dict[str, dict[int, list[Result]]]:
    results: dict[str, dict[int, list[Result]]] = {name: {callers: [] for callers in CONCURRENCIES} for name in opened}
    for number in range(rounds):
        for name, open in opened.items():
            own = folder / f"{model.name}-{number}-{name}"
            own.mkdir()
            with open(own) as served:
                request = own / "request.bin"
                request.write_bytes(_request(model, served))
                for callers in CONCURRENCIES:
                    results[name][callers].append(_load(served, request, callers, seconds))
            print(".", end="", file=sys.stderr, flush=True)
    return results


def _request(model: BenchModel, served: Served) -> bytes:
    if served.method == servers.CLASSIFY:
        return model.for_gateway()
    if served.method == model.path:
        return model.for_http(binary=bool(served.metadata))[0]
    return model.for_open_inference() if served.method == servers.MODEL_INFER else model.item()


def _load(served: Served, request: Path, callers: int, seconds: float) -> Result:
    command = [sys.executable, Path(__file__).with_name("load.py"), served.address, served.method, request, callers, seconds]
    if served.certificate:
        command += ["--certificate", served.certificate]
    if served.connections > 1:
        command += ["--connections", served.connections]
    for key, value in served.metadata.items():
        command += ["--metadata", f"{key}={value}"]
    before = served.cpu_s()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    cpu = {part: seconds - before[part] for part, seconds in served.cpu_s().items()}
    answer = json.loads(done.stdout)
    if answer["failed"]:
        raise SystemExit(f"{answer['failed']} requests failed: {answer['errors']}")
    latencies = sorted(answer["latencies"])
    # The warm-up's requests used CPU time as well.
    share = answer["seconds"] / (answer["seconds"] + 1.0)
    parts = {part: 1e6 * seconds * share / len(latencies) for part, seconds in cpu.items()}
    return Result(
        rate=len(latencies) / answer["seconds"],
        p50=1e3 * latencies[len(latencies) // 2],
        p99=1e3 * latencies[int(len(latencies) * 0.99)],
        cpu_us=sum(parts.values()),
        parts_us=parts,
    )


def _print_table(model: BenchModel, results: dict[str, dict[int, list[Result]]]) -> None:
    print(f"\n{model.title}: requests/s (lowest to highest) at concurrency {', '.join(map(str, CONCURRENCIES))}; at 32: ms, us")
    print(
        f"{'server':<20}" + "".join(f"{callers:>24}" for callers in CONCURRENCIES) + f"{'p50':>8}{'p99':>8}{'CPU us':>8}  of it"
    )
    for name, by_callers in results.items():
        cells = "".join(f"{_range([each.rate for each in by_callers[callers]]):>24}" for callers in CONCURRENCIES)
        last = by_callers[CONCURRENCIES[-1]]
        p50, p99, cpu = (statistics.median(getattr(each, key) for each in last) for key in ("p50", "p99", "cpu_us"))
        print(f"{name:<20}{cells}{p50:>8.1f}{p99:>8.1f}{cpu:>8.0f}  {_parts([each.parts_us for each in last])}")


def _parts(results: list[dict[str, float]]) -> str:
    medians = {part: statistics.median(each[part] for each in results) for part in results[0]}
    return ", ".join(f"{part} {us:.0f}" for part, us in medians.items() if us >= 0.5)


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def _print_ratios(measured: dict[str, dict[str, dict[int, list[Result]]]]) -> bool:
    """Print the ratios at the highest concurrency; return whether a goal is missed."""
    missed = False
    for model, by_server in measured.items():
        last = {name: by_callers[CONCURRENCIES[-1]] for name, by_callers in by_server.items()}
        rates = {name: statistics.median(each.rate for each in results) for name, results in last.items()}
        of_mlserver, of_bare = GOALS[model]
        oip_of_mlserver, oip_of_bare = OPEN_INFERENCE_GOALS[model]
        best_mlserver, best_bare, best_triton, best_door = (
            max((rate for name, rate in rates.items() if name.startswith(kind)), default=None)
            for kind in ("mlserver", "bare", "triton", "front-door")
        )
        for what, rate, base, goal in (
            ("gateway / best MLServer", rates.get("gateway"), best_mlserver, of_mlserver),
            ("gateway / better bare server", rates.get("gateway"), best_bare, of_bare),
            ("gateway's ModelInfer / best MLServer", rates.get("gateway-oip"), best_mlserver, oip_of_mlserver),
            ("gateway's ModelInfer / better bare server", rates.get("gateway-oip"), best_bare, oip_of_bare),
            ("gateway, 2 workers / 1 worker", rates.get("gateway-2-workers"), rates.get("gateway-1-worker"), None),
            ("gateway on Triton / Triton", rates.get("gateway-triton"), rates.get("triton"), None),
            ("front door / Triton, both as exported", rates.get("front-door"), rates.get("triton"), None),
            ("front door / Triton, each at its best", best_door, best_triton, FRONT_DOOR_GOALS[model]),
        ):
            if rate and base:
                reached = goal is None or rate / base >= goal
                missed |= not reached
                said = "" if goal is None else f"   goal {goal}: {'reached' if reached else 'MISSED'}"
                print(f"{model}: {what}: {rate / base:.2f}{said}")
    return missed


if __name__ == "__main__":
    main()
