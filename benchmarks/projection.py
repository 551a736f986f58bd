"""Time of `avizor project`'s steps on many embeddings, and its t-SNE beside scikit-learn's on digits.

    taskset -c 0,1 python benchmarks/projection.py            # 100,000 embeddings of 64 and of 512 numbers
    taskset -c 0,1 python benchmarks/projection.py --digits   # scikit-learn's digits by both

Embeddings are 20 clouds of normal points around random middles. Times are of a process of its own for each run, with two
threads; memory is the largest resident set of that process. Wall clock and processor time are printed, since other programs may
run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from statistics import median

import numpy as np
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE, trustworthiness

from avizor_inference.principal_components import principal_components
from avizor_pipeline.projection.labels import Labels
from avizor_pipeline.projection.methods import DEFAULT_PERPLEXITY, WORKING_NUMBERS, tsne
from avizor_pipeline.projection.trust import trust_of

_CLOUDS = 20
_THREADS = 2


def many(points: int, numbers: int) -> dict[str, float]:
    """Make, reduce, place and judge embeddings as `avizor project` does. Return the seconds of each step, and MiB."""
    rng = np.random.default_rng(0)
    codes = rng.integers(_CLOUDS, size=points)
    middles = rng.normal(size=(_CLOUDS, numbers))
    vectors = (middles[codes] + rng.normal(size=(points, numbers))).astype(np.float32)
    names = tuple(map(str, range(_CLOUDS)))
    times = [time.monotonic()]
    reduced = principal_components(vectors, WORKING_NUMBERS).place(vectors)
    times.append(time.monotonic())
    places = tsne(reduced, DEFAULT_PERPLEXITY, 0, _THREADS)
    times.append(time.monotonic())
    trust = trust_of(vectors, places, np.arange(points), Labels("clouds", names, codes), 0)
    times.append(time.monotonic())
    assert trust.knn_accuracy is not None
    return {
        "pca_s": times[1] - times[0],
        "tsne_s": times[2] - times[1],
        "trust_s": times[3] - times[2],
        "cpu_s": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trustworthiness": trust.trustworthiness,
        "continuity": trust.continuity,
        "knn_before": trust.knn_accuracy.before,
        "knn_after": trust.knn_accuracy.after,
    }


def digits(seed: int) -> dict[str, float]:
    """Place scikit-learn's 1,797 digits by both. Return trustworthiness (k = 10), and seconds of wall clock and processor."""
    data = load_digits().data
    reduced = principal_components(data, WORKING_NUMBERS).place(data)
    found: dict[str, float] = {}
    for name in ("avizor", "scikit-learn"):
        wall, processor = time.monotonic(), time.process_time()
        if name == "avizor":
            places = tsne(reduced, DEFAULT_PERPLEXITY, seed, _THREADS)
        else:
            places = TSNE(perplexity=DEFAULT_PERPLEXITY, random_state=seed, n_jobs=_THREADS).fit_transform(data)
        found[f"{name}_s"] = time.monotonic() - wall
        found[f"{name}_cpu_s"] = time.process_time() - processor
        found[f"{name}_trustworthiness"] = trustworthiness(data, places, n_neighbors=10)
    return found


def main() -> None:
    """Run each case several times in processes of their own, and print median and spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--numbers", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--once", nargs=2, type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        first, second = asked.once
        print(json.dumps(digits(first) if asked.digits else many(first, second)))
        return
    if asked.digits:
        _table("digits", [_run("--digits", "--once", str(seed), "0") for seed in range(asked.runs)])
        return
    for numbers in asked.numbers:
        runs = [_run("--once", str(asked.points), str(numbers)) for _ in range(asked.runs)]
        _table(f"{asked.points:,} embeddings of {numbers} numbers", runs)


def _run(*arguments: str) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(_THREADS)}
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _table(title: str, runs: list[dict[str, float]]) -> None:
    print(f"\n{title}, {len(runs)} runs\n\n| | median | least | most |\n|---|---:|---:|---:|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"| {name} | {median(values):.4g} | {min(values):.4g} | {max(values):.4g} |", flush=True)


if __name__ == "__main__":
    main()
