"""Measure what the largest difference between two engines that Avizor allows does to the rate of false alarms.

    python benchmarks/engine_differences.py [--data FOLDER] [--splits 400]

Another engine may use a calibration if the scores of the probe items differ by little (score_agreement.py in avizor_inference);
what is allowed then counts as a tie. Here every score of every test recording is larger, or smaller, by all that is allowed, as
if the other engine were wrong in one direction for every item: the worst case. Each row splits normal recordings at random into
calibration and test, many times. `spread` is the distance of the quartiles of the roots of the calibration's scores over their
median, and `allowed` the relative difference of roots; both are means over the splits. `flagged` is the share of test
recordings with p <= alpha: with equal scores and only rounding as a tie, then with larger scores, then with smaller ones, on
the same splits. The data are those of promise.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import promise_data as data
from promise import ALPHAS, CONSTRUCTED, TIED
from promise_data import Draw

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.score_agreement import SHARE, agreement
from avizor_inference.repository.calibration import Calibration


def row(name: str, draw: Draw, calibrated: int, tested: int, splits: int) -> None:
    """Print one row of the table."""
    rng = np.random.default_rng(0)
    equal, larger, smaller = (np.zeros(len(ALPHAS)) for _ in range(3))
    allowed = []
    for _ in range(splits):
        recordings = draw(rng, calibrated + tested)
        calibration = Calibration(
            model="benchmark", version=1, model_sha256="0", engine_class="onnxruntime-cpu", precision="fp32",
            created=datetime.now(UTC), sources={"s": tuple(tuple(map(float, each)) for each in recordings[:calibrated])},
            probe_scores=(1.0,),
        )  # fmt: skip
        difference = agreement(calibration, (1.0,)).allowed
        allowed.append(difference)
        judge, other = Judge(calibration), Judge(calibration, agreement(calibration, ((1 + difference) ** 2 * (1 - 1e-9),)).tie)
        for scores in recordings[calibrated:]:
            score = ItemScore.of(scores).value
            equal += [judge.item_p_value("s", score).value <= alpha for alpha in ALPHAS]
            larger += [other.item_p_value("s", score * (1 + difference) ** 2).value <= alpha for alpha in ALPHAS]
            smaller += [other.item_p_value("s", score * (1 - difference) ** 2).value <= alpha for alpha in ALPHAS]
    mean, trials = float(np.mean(allowed)), splits * tested
    columns = "  ".join(
        f"{alpha:g}: {same / trials:.2%}, {above / trials:.2%}, {below / trials:.2%}"
        for alpha, same, above, below in zip(ALPHAS, equal, larger, smaller, strict=True)
    )
    print(f"{name:30s} {mean / SHARE:7.3f} {mean:9.2e}  {columns}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="Folder that holds fsdd.")
    parser.add_argument("--splits", type=int, default=400)
    arguments = parser.parse_args()
    print(f"{'recordings':30s} {'spread':>7s} {'allowed':>9s}  flagged at alpha: equal, larger, smaller scores", flush=True)
    tables = {name: (CONSTRUCTED[name], 400) for name in ("equal lengths (3 windows)", "one window", TIED)}
    for name, (draw, count) in tables.items():
        row(name, draw, count // 2 - 1, count // 2, arguments.splits)
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            rows = data.bank_rows(Path(folder))
        row("table rows (bank transfers)", data.draw_from(rows), 199, 200, arguments.splits)
        if (arguments.data / "fsdd").is_dir():
            with contextlib.redirect_stdout(io.StringIO()):
                spoken = data.digits(arguments.data / "fsdd", data.DIGIT_WINDOW)[0]
            row("spoken digits", data.draw_from(spoken), 199, 200, arguments.splits)
        with contextlib.redirect_stdout(io.StringIO()):
            normal, _ = data.machine_sounds(Path(folder))
        row("machine sound", data.draw_from(normal), len(normal) // 2 - 1, len(normal) // 2, arguments.splits)


if __name__ == "__main__":
    main()
