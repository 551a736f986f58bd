"""Compare ways to find anomalies on many sets, at default settings and with ten trials: how many anomalies does each find?

    python benchmarks/detection --data FOLDER [--out DIR] [--jobs 2] [--budget none] [--methods 'A;B'] [--sets A,B]

FOLDER has `tables`, `fsdd` and `mnist10k`. Needs the extra `bench`. Results are written as they come; a run that was stopped
goes on where it was. The tables are written to OUT/tables-none.md and OUT/tables-ten-trials.md.

The sets, splits, features, methods, metrics and seeds are frozen: a change of any of them makes another benchmark.
docs/detection.md has the results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

# Each process has one thread: a run is parallel over its tasks.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
for folder in (Path(__file__).parent.parent, Path(__file__).parent.parent.parent / "examples"):
    sys.path.insert(0, str(folder))

import pandas as pd  # noqa: E402
from detection.methods import METHODS, NOW, trials  # noqa: E402
from detection.run import NO_TUNING, SEEDS, TUNED, Task, make, run  # noqa: E402
from detection.sources import sources  # noqa: E402
from detection.tables import markdown  # noqa: E402

_KEY = ["set", "seed", "method", "budget", "setting"]


class Scope(NamedTuple):
    """Says what a run is about. out: folder of results and sets."""

    data: Path
    out: Path
    sets: Sequence[str]
    methods: Sequence[str]

    def task(self, name: str, seed: int, method: str, budget: str, setting: dict[str, object], *, trial: bool = False) -> Task:
        """Return a task of this run."""
        return Task(name, seed, method, budget, setting, self.data, self.out / "sets", trial)

    def untuned(self) -> Iterator[Task]:
        """Yield the tasks of the methods as they are."""
        for name in self.sets:
            for method in self.methods:
                yield from (self.task(name, seed, method, NO_TUNING, {}) for seed in SEEDS)

    def trials(self) -> Iterator[Task]:
        """Yield the trials of the tuning."""
        for name in self.sets:
            for method in self.methods:
                for setting in trials(method):
                    yield self.task(name, SEEDS[0], method, TUNED, dict(setting), trial=True)

    def tuned(self, tried: pd.DataFrame) -> Iterator[Task]:
        """Yield the tasks of the best settings."""
        best = tried.loc[tried.groupby(["set", "method"]).validation_auc.idxmax()]
        for row in best[best.set.isin(self.sets) & best.method.isin(self.methods)].itertuples():
            for seed in SEEDS:
                yield self.task(str(row.set), seed, str(row.method), TUNED, json.loads(str(row.setting)))


def with_untunable(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, and those of methods without anything to tune a second time: ten trials leave them as they are."""
    untunable = [name for name in METHODS if not trials(name)]
    return pd.concat([rows, rows[(rows.budget == NO_TUNING) & rows.method.isin(untunable)].assign(budget=TUNED)])


def read(path: Path) -> pd.DataFrame:
    """Return the rows of earlier runs."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=_KEY)


def run_all(pool: ProcessPoolExecutor, tasks: Sequence[Task], path: Path) -> None:
    """Run the tasks whose rows are not in the file yet, and append their rows as they come."""
    done = set(read(path)[_KEY].itertuples(index=False, name=None))

    def is_left(task: Task) -> bool:
        return (task.name, task.seed, task.method, task.budget, json.dumps(task.setting, sort_keys=True)) not in done

    left = [task for task in tasks if is_left(task)]
    waiting: dict[tuple[str, int], list[Task]] = {}
    for task in left:
        waiting.setdefault((task.name, task.seed), []).append(task)
    runs = []
    for made in as_completed([pool.submit(make, tasks[0]) for tasks in waiting.values()]):
        runs += [pool.submit(run, task) for task in waiting[made.result()]]
    for number, future in enumerate(as_completed(runs), 1):
        rows = future.result()
        pd.DataFrame(rows).to_csv(path, mode="a", header=not path.exists(), index=False)
        print(f"{number} of {len(left)}: {rows[0]['set']}, {rows[0]['method']}, {rows[0]['training_seconds']} s", flush=True)


def main() -> None:
    """Run what is left, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("detection-results"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--budget", default=f"{NO_TUNING},{TUNED}", help=f"`{NO_TUNING}`, `{TUNED}` or both.")
    parser.add_argument("--methods", default=";".join(METHODS), help="Only these, with semicolons between them.")
    parser.add_argument("--sets", default="", help="Only sets with one of these words in their names.")
    parser.add_argument("--ours", default=NOW, help="The method that the others are compared with.")
    arguments = parser.parse_args()
    (arguments.out / "sets").mkdir(parents=True, exist_ok=True)
    words = arguments.sets.split(",")
    scope = Scope(
        arguments.data,
        arguments.out,
        [name for name in sources() if any(word in name for word in words)],
        arguments.methods.split(";"),
    )
    results, tried = arguments.out / "results.csv", arguments.out / "trials.csv"
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
        if NO_TUNING in arguments.budget:
            run_all(pool, list(scope.untuned()), results)
        if TUNED in arguments.budget:
            run_all(pool, list(scope.trials()), tried)
            run_all(pool, list(scope.tuned(read(tried))), results)
    for budget in arguments.budget.split(","):
        text = markdown(with_untunable(read(results)), list(METHODS), budget, arguments.ours)
        (arguments.out / f"tables-{budget.replace(' ', '-')}.md").write_text(text, encoding="utf-8")
        print(f"\nTuning: {budget}\n\n{text}")


if __name__ == "__main__":
    main()
