"""Compare combinations of both parts of Avizor's score, and choose one with one set, or one family, left out.

    python benchmarks/detection/combinations.py --out DIR

DIR is that of `parts.py`. A combination is a weight of the distance: z is the mean of both logarithms, each as a z-score of
the statistics' items, in which the distance has this weight and the error the rest; or it is the larger of the two z-scores.
The score of a window is exp(z / 8), that of an item their power mean, as in the graph. Tested are the items of the benchmark,
with its metrics. A set counts by its mean over the seeds that are there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import pandas as pd
from detection.metrics import METRICS, measure
from detection.tables import TITLES, interval
from numpy.typing import NDArray

from avizor_export.detection.scores import FLOOR, SOFTNESS
from avizor_inference import ItemScore

VALIDATION = 5  # one of so many anomalies is for the tuning, and not tested: see run.py
LARGER = "the larger z-score"
WEIGHTS = {
    "error alone": 0.0,
    "a fifth": 0.2,
    "a third": 1 / 3,
    "half": 0.5,
    "two thirds": 2 / 3,
    "four fifths": 0.8,
    "nine tenths": 0.9,
    "distance alone": 1.0,
    LARGER: np.nan,
}
CHOSEN_BY = ("auc", "recall_05")
OURS = "two thirds"


def rows_of(path: Path) -> list[dict[str, object]]:
    """Return a row for each combination and column of a set and a seed."""
    name, seed = path.stem.rsplit("-", 1)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    known = arrays["statistics/scores"].astype(float)
    floor = FLOOR * np.maximum(np.median(known, axis=0), 1e-20)
    logarithms = np.log(known + floor)
    mean, deviation = logarithms.mean(axis=0), np.maximum(logarithms.std(axis=0), 0.05)
    rows: list[dict[str, object]] = []
    for combination, weight in WEIGHTS.items():

        def items(part: str, weight: float = weight) -> NDArray[np.float64]:
            z = (np.log(arrays[f"{part}/scores"].astype(float) + floor) - mean) / deviation
            chosen = z.max(axis=1) if np.isnan(weight) else z @ (1 - weight, weight)
            scores = np.split(np.exp(chosen / SOFTNESS), np.flatnonzero(np.diff(arrays[f"{part}/owner"])) + 1)
            return np.array([ItemScore.of(each).value for each in scores])

        calibration, normal = items("calibration"), items("normal")
        for key in arrays:
            if key.startswith("anomalies/") and key.endswith("/scores"):
                part = key.removesuffix("/scores")
                odd = items(part)
                column, metrics = part.removeprefix("anomalies/"), measure(calibration, normal, odd[len(odd) // VALIDATION :])
                about = {"set": name, "family": str(arrays["family"]), "seed": int(seed), "combination": combination}
                rows.append({**about, "column": column, **metrics})
    return rows


def left_out(table: pd.DataFrame, by: str, level: str) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Choose for each set, or family, the combination with the highest mean of the others; return what it gives there.

    table: means over seeds, (metric, combination) as columns. level: of the index: `set` or `family`. Returns METRICS by
    column, and how often each combination was chosen.
    """
    places, chosen, counts = table.index.get_level_values(level), list[pd.DataFrame](), dict[str, int]()
    for name in dict.fromkeys(places):
        best = str(table[places != name][by].mean().idxmax())
        counts[best] = counts.get(best, 0) + 1
        chosen.append(table[places == name].xs(best, axis=1, level=1))
    return pd.concat(chosen).reindex(table.index), counts


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = pd.DataFrame([row for path in sorted((arguments.out / "parts").glob("*.npz")) for row in rows_of(path)])
    table = rows.pivot_table(index=["family", "set", "column"], columns="combination", values=list(METRICS), dropna=False)
    table = table.dropna(how="all")
    sets = table.index.get_level_values("set").to_numpy()
    print(f"{len(table)} columns of {len(set(sets))} sets, {rows.groupby(['set', 'seed']).ngroups} trainings\n")
    print(f"| weight of the distance | {' | '.join(TITLES.values())} | AUC less that of ours | recall less that of ours |")
    print("|---|" + "---:|" * (len(TITLES) + 2))
    for name in WEIGHTS:
        _print(name, table.xs(name, axis=1, level=1), table, sets)
    for level in ("set", "family"):
        for by in CHOSEN_BY:
            found, counts = left_out(table, by, level)
            often = ", ".join(f"{name} {count}" for name, count in counts.items())
            _print(f"chosen by {TITLES[by]}, one {level} left out ({often})", found, table, sets)
    print("\n| family | " + " | ".join(WEIGHTS) + " |\n|---|" + "---:|" * len(WEIGHTS))
    for family, group in table.groupby(level="family"):
        cells = (f"{group['auc'][name].mean():.3f} / {group['recall_05'][name].mean():.3f}" for name in WEIGHTS)
        print(f"| {family} | {' | '.join(cells)} |")


def _print(name: str, found: pd.DataFrame, table: pd.DataFrame, sets: NDArray[np.object_]) -> None:
    cells = [f"{found[metric].mean():.3f}" for metric in METRICS]
    for metric in CHOSEN_BY:
        mean, low, high = interval((found[metric] - table[metric][OURS]).to_numpy(), sets)
        cells.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
