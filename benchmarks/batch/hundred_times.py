"""Ask whether a clip costs a batch job as much among a hundred times as many.

    python benchmarks/batch/hundred_times.py [--rounds 15] [--long-rounds 3] [--clips 1000] [--json FILE]

The autoencoder alone, where the job's own work is the largest share, with a worker for each core. It compares the CPU time of a
clip in a job of N clips and in one of 100 N; of both the CPU time of a job of 65 clips is taken away, which is the start of its
workers. Jobs are interleaved: N and 65 clips in each round, 100 N in some of them. Medians; in brackets the 95 % interval of
the ratio, from 2,000 bootstrap samples of the rounds. Exit code 1: a clip costs over 5 % more among a hundred times as many.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from batch.__main__ import START_CLIPS
from batch.inputs import export_autoencoder, write_clips
from batch.measured import CORES, JOB, run
from batch.sound import AUTOENCODER

TIMES = 100
GOAL = 0.05
SAMPLES = 2000


def main() -> None:
    """Measure, and print the two costs and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--long-rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    counts = {"start": START_CLIPS, "one": options.clips, "hundred": options.clips * TIMES}
    seconds: dict[str, list[float]] = {name: [] for name in counts}
    every = -(-options.rounds // options.long_rounds)  # never more long ones than asked
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_autoencoder(folder / "models")
        for clips, count in counts.items():
            write_clips(folder / clips, count, like=folder / "one")
        for number in range(options.rounds):
            for clips in ("start", "one", *(["hundred"] if number % every == 0 else [])):
                seconds[clips].append(_cpu_s(folder, clips))
                print(".", end="", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(seconds))
    sys.exit(1 if _print_costs(seconds, counts) else 0)


def _cpu_s(folder: Path, clips: str) -> float:
    """Return the CPU seconds of a job, with all its processes."""
    out = folder / "out"
    command: list[str | Path] = [*JOB, folder / clips, "--models", folder / "models", "--model", AUTOENCODER, "--out", out]
    done = run([*command, "--workers", str(CORES)])
    shutil.rmtree(out)
    return done.cpu_s


def _print_costs(seconds: dict[str, list[float]], counts: dict[str, int]) -> bool:
    """Print the CPU time of a clip in both jobs; return whether the goal is missed."""
    one, hundred = (_cost_us(seconds, counts, clips) for clips in ("one", "hundred"))
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(SAMPLES):
        sample = {clips: list(rng.choice(values, len(values))) for clips, values in seconds.items()}
        ratios.append(_cost_us(sample, counts, "hundred") / _cost_us(sample, counts, "one"))
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(f"\nCPU us a clip: {one:,.0f} of {counts['one']:,}, {hundred:,.0f} of {counts['hundred']:,} clips; {CORES} cores")
    missed = hundred / one - 1 > GOAL
    verdict = "MISSED" if missed else "reached"
    print(f"ratio: {hundred / one:.3f} ({low:.3f}-{high:.3f})   goal at most {1 + GOAL}: {verdict}")
    return missed


def _cost_us(seconds: dict[str, list[float]], counts: dict[str, int], clips: str) -> float:
    return (median(seconds[clips]) - median(seconds["start"])) / (counts[clips] - counts["start"]) * 1e6


if __name__ == "__main__":
    main()
