"""Make the tables of the documentation from the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from detection.metrics import METRICS
from numpy.typing import NDArray

TITLES = dict(zip(METRICS, ("AUC", "pAUC", "average precision", "recall at 0.05", "recall at 0.01"), strict=True))
COMPARED = ("auc", "recall_05")
RESAMPLES = 10_000


def whole(rows: pd.DataFrame, budget: str, methods: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return a row for each column of the benchmark, with (metric, method) as columns, and the methods that have been run.

    Values are means over the seeds of a set that all these methods have been run with: what is compared is paired.
    """
    chosen = rows[(rows.budget == budget) & rows.method.isin(methods)]
    there = [method for method in methods if (chosen.method == method).any()]
    found = chosen.groupby(["set", "seed"]).method.transform("nunique")
    table = chosen[found == len(there)].pivot_table(
        index=["family", "set", "column"], columns="method", values=list(METRICS), dropna=False
    )
    return table.dropna(how="all"), there


def markdown(rows: pd.DataFrame, methods: Sequence[str], budget: str, ours: str) -> str:
    """Return the tables: means over all columns, differences of `ours` to the others, means by family, and AUC by column."""
    table, there = whole(rows, budget, methods)
    parts = [
        f"Means over {len(table)} columns of {table.index.get_level_values('set').nunique()} sets, and over seeds.",
        _lines(
            ["method", *TITLES.values()], [[method, *(table[metric][method].mean() for metric in METRICS)] for method in there]
        ),
        f"Mean difference of {ours} to the others, with its 95 % interval, over all trainings that both have.",
        _lines(
            ["than", "sets", "trainings", *(TITLES[metric] for metric in COMPARED)],
            [[other, *_differences(rows, budget, ours, other)] for other in there if other != ours],
        ),
    ]
    for metric in COMPARED:
        means = table[metric][there].groupby(level="family").mean()
        parts += [f"{TITLES[metric]} by family.", _lines(["family", *there], [[name, *row] for name, row in means.iterrows()])]
    for metric in COMPARED:
        body = [[column, *values] for (_, _, column), values in table[metric][there].iterrows()]
        parts += [f"{TITLES[metric]} by column.", _lines(["column", *there], body)]
    return "\n\n".join(parts) + "\n"


def interval(differences: NDArray[np.float64], groups: NDArray[np.object_]) -> tuple[float, float, float]:
    """Return the mean of paired differences, and the ends of its 95 % interval by bootstrap over the sets.

    groups: the set of each difference. Columns of one set share their training, so they are drawn together.
    """
    names = np.unique(groups)
    sums = np.array([differences[groups == name].sum() for name in names])
    counts = np.array([(groups == name).sum() for name in names])
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def _differences(rows: pd.DataFrame, budget: str, ours: str, other: str) -> list[str]:
    """Return how many sets and trainings both methods have, and the mean differences with their intervals, in words."""
    table, _ = whole(rows, budget, [ours, other])
    sets = table.index.get_level_values("set").to_numpy()
    trainings = rows[(rows.budget == budget) & rows.method.isin([ours, other])].groupby(["set", "seed"]).method.nunique()
    cells = [str(len(set(sets))), str(int((trainings == 2).sum()))]
    for metric in COMPARED:
        mean, low, high = interval((table[metric][ours] - table[metric][other]).to_numpy(), sets)
        cells.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    return cells


def _lines(titles: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    lines = [_line(titles), "|" + "|".join(["---", *["---:"] * (len(titles) - 1)]) + "|"]
    return "\n".join([*lines, *(_line(row) for row in body)])


def _line(cells: Sequence[object]) -> str:
    texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"
