"""Compare the batch job with its floor, and with other ways to do the same work on the same clips and graphs.

    python benchmarks/batch [--rounds 3] [--clips 4000] [--models r18,ae] [--ray-python PATH] [--json FILE]

For two sets of models (a ResNet-18-sized classifier and an autoencoder on log-mels; the autoencoder alone) it prints medians
over interleaved rounds, in brackets their range:

floor: the CPU time of decoding one clip (soundfile), and of each exported graph for one item at its best batch, each on one
    thread, divided by the cores.
by hand: the same, batch after batch, in one warm process for each core, at the same time; no table is written.
loop: one clip after the other in one process, with librosa's decoder and log-mel, and the networks without their front end.
loop on the graphs: the same with soundfile and the exported graphs. ONNX Runtime has its threads on all cores in both.
Ray Data, job: the marginal rate, that of N clips less N/10. Without --ray-python, an environment with ray[data], soundfile and
    onnxruntime, Ray Data is left out.

clips/s are by wall time. "CPU" is the same by CPU time: clips per CPU second, times the cores. It tells more on a machine that
does other work meanwhile. The start of a worker is the CPU time of a job with two workers less that of a job with one, over the
same 65 clips.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from batch.inputs import export_models, export_plain_models, write_clips
from batch.measured import CORES, JOB, Measured, run, spread
from batch.sound import AUTOENCODER, CLASSIFIER

MODEL_SETS = (f"{CLASSIFIER},{AUTOENCODER}", AUTOENCODER)
# Goals: of the floor, by models; of Ray Data's rate; of the loop's rate; of Ray Data's memory; start of a worker.
FLOOR_GOALS = {MODEL_SETS[0]: 0.92, MODEL_SETS[1]: 0.80}
RAY_GOAL, LOOP_GOAL, MEMORY_GOAL, START_GOAL_S = 1.5, 2.5, 0.4, 1.5
ALONE = Path(__file__).with_name("alone.py")
# One shard and one clip, so that a second worker starts.
START_CLIPS = 65
HAND_S = 6.0

# Way -> measure (wall, cpu: clips/s; mib; s) -> one value for each round.
Results = dict[str, dict[str, list[float]]]


def main() -> None:
    """Measure and print the tables; exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, help="N; by default 60 s of work or more on two cores")
    parser.add_argument("--models", choices=MODEL_SETS, action="append", default=[])
    parser.add_argument("--ray-python", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured: dict[str, Results] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_models(folder / "models")
        export_plain_models(folder / "models")
        write_clips(folder / "start", START_CLIPS)
        for names in options.models or MODEL_SETS:
            count = options.clips or (20_000 if CLASSIFIER in names else 100_000)
            for clips, size in (("few", count // 10), ("many", count)):
                shutil.rmtree(folder / clips, ignore_errors=True)
                write_clips(folder / clips, size, like=folder / "few")
            results: Results = defaultdict(lambda: defaultdict(list))
            for _ in range(options.rounds):
                _round(results, folder, names, count, options.ray_python)
                print(".", end="", file=sys.stderr, flush=True)
            measured[names] = results
            _print_table(names, count, results)
    if options.json:
        options.json.write_text(json.dumps(measured))
    if not options.ray_python:
        print("Ray Data is left out: give --ray-python")
    sys.exit(1 if sum(_print_goals(names, results) for names, results in measured.items()) else 0)


def _round(results: Results, folder: Path, names: str, count: int, ray_python: Path | None) -> None:
    """Measure each way once."""
    clips = folder / "many"
    floor = _alone("floor", folder, names, clips)
    for part, cost in floor.items():
        results["floor"][f"us {part}"].append(cost)
    rate = CORES * 1e6 / sum(floor.values())
    _add(results["floor"], wall=rate, cpu=rate)
    with ThreadPoolExecutor(CORES) as pool:
        hands = list(pool.map(lambda _: _alone("hand", folder, names, clips, HAND_S), range(CORES)))
    _add(results["by hand"], wall=sum(hand["wall"] for hand in hands), cpu=sum(hand["cpu"] for hand in hands))
    results["by hand"]["mib"].append(sum(hand["mib"] for hand in hands))
    for way, what in (("loop", "librosa"), ("loop on the graphs", "loop")):
        loop = _alone(what, folder, names, clips, HAND_S)
        _add(results[way], wall=loop["wall"], cpu=loop["cpu"] * CORES)
        results[way]["mib"].append(loop["mib"])
    few, many = (_job(folder, names, folder / clips, CORES) for clips in ("few", "many"))
    _add_marginal(results["job"], few, many, count)
    one, all_cores = (_job(folder, names, folder / "start", workers) for workers in (1, 2))
    results["job"]["start_s"].append(all_cores.cpu_s - one.cpu_s)
    if ray_python:
        few, many = (_ray(ray_python, folder, names, folder / clips) for clips in ("few", "many"))
        _add_marginal(results["Ray Data"], few, many, count)


def _alone(what: str, folder: Path, names: str, clips: Path, *more: float) -> dict[str, float]:
    command = [sys.executable, ALONE, what, folder / "models", names, clips, *more]
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _job(folder: Path, names: str, clips: Path, workers: int) -> Measured:
    out = folder / "out"
    models = [argument for name in names.split(",") for argument in ("--model", name)]
    done = run([*JOB, clips, "--models", folder / "models", *models, "--out", out, "--workers", str(workers)])
    shutil.rmtree(out)
    return done


def _ray(python: Path, folder: Path, names: str, clips: Path) -> Measured:
    out = folder / "out"
    done = run([python, Path(__file__).with_name("ray_way.py"), folder / "models", names, clips, out, str(CORES)])
    shutil.rmtree(out)
    return done


def _add(way: dict[str, list[float]], *, wall: float, cpu: float) -> None:
    way["wall"].append(wall)
    way["cpu"].append(cpu)


def _add_marginal(way: dict[str, list[float]], few: Measured, many: Measured, count: int) -> None:
    clips = count - count // 10
    _add(way, wall=clips / (many.seconds - few.seconds), cpu=CORES * clips / (many.cpu_s - few.cpu_s))
    way["mib"].append(many.peak_mib)


def _print_table(names: str, count: int, results: Results) -> None:
    print(f"\n{names}, {count} clips, {CORES} cores\n")
    print("| way | clips/s | CPU | of the floor's CPU | peak MiB |\n|---|---:|---:|---:|---:|")
    floor = results["floor"]["cpu"]
    for way, measures in results.items():
        share = [cpu / base for cpu, base in zip(measures["cpu"], floor, strict=True)]
        memory = spread(measures["mib"]) if "mib" in measures else "-"
        print(f"| {way} | {spread(measures['wall'])} | {spread(measures['cpu'])} | {spread(share, ',.2f')} | {memory} |")
    start = spread(results["job"]["start_s"], ",.2f")
    parts = (f"{part[3:]} {spread(values)}" for part, values in results["floor"].items() if part.startswith("us "))
    print(f"\nFloor, us a clip on one thread: {', '.join(parts)}. Start of a worker: {start} CPU s.")


def _print_goals(names: str, results: Results) -> bool:
    """Print the ratios of the medians; return whether a goal is missed."""
    medians = {way: {measure: statistics.median(values) for measure, values in each.items()} for way, each in results.items()}
    job, ray = medians["job"], medians.get("Ray Data")
    said = [
        ("job / floor, CPU", job["cpu"] / medians["floor"]["cpu"], FLOOR_GOALS[names], True),
        ("job / loop", job["wall"] / medians["loop"]["wall"], LOOP_GOAL, True),
        ("start of a worker, CPU s", job["start_s"], START_GOAL_S, False),
    ]
    if ray:
        said += [
            ("job / Ray Data", job["wall"] / ray["wall"], RAY_GOAL, True),
            ("memory of the job / Ray Data", job["mib"] / ray["mib"], MEMORY_GOAL, False),
        ]
    missed = False
    for what, value, goal, at_least in said:
        reached = value >= goal if at_least else value <= goal
        missed |= not reached
        word = "at least" if at_least else "at most"
        print(f"{names}: {what}: {value:.2f}   goal {word} {goal}: {'reached' if reached else 'MISSED'}")
    return missed


if __name__ == "__main__":
    main()
