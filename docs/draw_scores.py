"""The picture of the README, from the results of `make demo`: `make picture`.

A dot is a recording, and its place is its score. Each machine has a row: its calibration, then its normal and its faulty test
recordings. A full dot was flagged.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from avizor_inference import ItemScore, ModelRepository

PICTURE = Path(__file__).parent / "images" / "machine-sounds.png"
MODEL = "machine-sound"

# Vertical place within a machine's row, colour and name of each kind of recording.
CALIBRATION = (0.24, "#9a9a9a", "calibration: 40 normal recordings of each machine")
NORMAL = (0.0, "#2c7fb8", "test: normal, never seen by the model")
FAULTY = (-0.24, "#d7301f", "test: with a fault")


def calibration_scores(models: Path) -> dict[str, list[float]]:
    """Score of each calibration recording by machine."""
    (calibration,) = ModelRepository(models).version(MODEL).calibrations()
    return {
        machine: [ItemScore.of(np.asarray(windows, np.float32)).value for windows in recordings]
        for machine, recordings in sorted(calibration.sources.items())
    }


def tested_scores(out: Path, machine: str) -> dict[str, NDArray[Any]]:
    """Columns is_faulty, score and is_anomaly of one machine's test recordings."""
    query = """
        select condition <> 'normal' as is_faulty, score, is_anomaly
        from read_parquet($recordings) join read_csv($labels) on uri like '%sounds/test/' || file
        where model = $model and source = $machine
    """
    files = {"recordings": f"{out}/results/recordings/*.parquet", "labels": f"{out}/sounds/test/labels.csv"}
    columns = duckdb.execute(query, {**files, "model": MODEL, "machine": machine}).fetchnumpy()
    return {name: np.asarray(column) for name, column in columns.items()}


def draw(out: Path) -> Figure:
    """The picture."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    scores = calibration_scores(out / "models")
    for row, (machine, calibrated) in enumerate(scores.items()):
        _dots(axes, row, CALIBRATION, np.asarray(calibrated), None)
        tested = tested_scores(out, machine)
        for kind, chosen in ((NORMAL, ~tested["is_faulty"]), (FAULTY, tested["is_faulty"])):
            _dots(axes, row, kind, tested["score"][chosen], tested["is_anomaly"][chosen])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xlabel("score of a recording: reconstruction error and distance to normal sound together (logarithmic axis)")
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    for row in range(1, len(scores)):
        axes.axhline(row - 0.5, color="#dddddd", linewidth=0.8)
    handles = [axes.plot([], [], "o", color=kind[1], markersize=5, label=kind[2])[0] for kind in (CALIBRATION, NORMAL, FAULTY)]
    title = "Full dots were flagged at alpha 0.05, hollow ones were not."
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def _dots(
    axes: Axes, row: int, kind: tuple[float, str, str], scores: NDArray[np.float64], flagged: NDArray[np.bool_] | None
) -> None:
    """One kind of recordings of one machine. flagged: bool[n], drawn as full dots; None where nothing was judged."""
    place, colour, _ = kind
    full = np.zeros(len(scores), bool) if flagged is None else flagged
    for chosen, face in ((full, colour), (~full, "none")):
        heights = np.full(int(chosen.sum()), row - place)
        axes.scatter(scores[chosen], heights, s=22, facecolors=face, edgecolors=colour, linewidths=0.9, alpha=0.8)


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="Folder that the demo wrote.")
    PICTURE.parent.mkdir(exist_ok=True)
    draw(parser.parse_args().out).savefig(PICTURE, dpi=110)
    print(PICTURE)


if __name__ == "__main__":
    main()
