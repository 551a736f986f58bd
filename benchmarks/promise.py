"""Check the promised false-alarm rate, and compare what the score of an item detects with other possible scores.

    python benchmarks/promise.py [--data FOLDER] [--splits 400] [--only NAME,...]

Prints three tables.

1. The promise. Each row splits normal recordings at random into calibration and test, many times. `flagged` is the mean share
   of test recordings with p <= alpha, with its 99 % interval; it has to be at most alpha. `splits above` counts the splits in
   which more than alpha of the test recordings are flagged. Given n calibration and m test recordings without ties, the number
   flagged is beta-binomial with parameters m, k, n + 1 - k, k = floor(alpha (n + 1)) (Vovk, "Conditional validity of inductive
   conformal predictors", 2012), so the number of splits is binomial; its two-sided 99 % range is in brackets. If scores tie,
   fewer may be flagged. A row outside of this range is marked. Because a hundred numbers are compared, the exit code is 1 only
   if one is outside of the range that 99 % of all runs keep (Bonferroni).
   A second part of the table has sources of different size and loudness, whose bound is max(alpha, 1 / (n + 1)).
2. The power. The share of recordings with one unusual window among 1, 5, 50 and 500 that is flagged at alpha 0.05, for
   different scores of the item: the mean over its windows, power means, and the largest score.
3. The cost of a verdict for calibrations of different sizes.

Machine sounds and transfers come from the examples' generators; the models are trained here. `--data` is a folder with the Free
Spoken Digit Dataset in `fsdd`; without it, the rows on spoken digits are left out, and a line says so.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import promise_data as data
from promise_data import Draw, Scores
from scipy.stats import betabinom, binom, norm

from avizor_inference.anomaly.item_score import ORDER, ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.repository.calibration import Calibration

ALPHAS = (0.1, 0.05, 0.01)
CONFIDENCE = 0.99

# Factors on the score of the unusual window in the table of power, and the number of calibration recordings there.
ODD_FACTORS = (3.0, 5.0)
CALIBRATED = 199

# Approximate number of comparisons in the first table.
COMPARISONS = 100

SHORT = "spoken digits under a window"
TIED = "one window, most of them equal"
CONSTRUCTED: dict[str, Draw] = {
    "equal lengths (3 windows)": data.constructed(3, 3),
    "different lengths (2 to 6)": data.constructed(2, 6),
    "odd ends (2 to 6)": data.constructed(2, 6, odd_last=3.0),
    "odd beginnings (2 to 6)": data.constructed(2, 6, odd_first=3.0),
    "one window": data.constructed(1, 1),
    TIED: data.tied(data.constructed(1, 1)),
    "hundreds (100 to 500)": data.constructed(100, 500),
    "one to hundreds, odd ends": data.constructed(1, 500, odd_last=3.0),
}


def judge_of(recordings: Sequence[Scores] | Mapping[str, Sequence[Scores]], *, is_short: bool = False) -> Judge:
    """Return Avizor's judge for a calibration with these recordings, of the source `s` or by source."""
    by_source = recordings if isinstance(recordings, Mapping) else {"s": recordings}
    sources = {source: tuple(tuple(map(float, scores)) for scores in each) for source, each in by_source.items()}
    return Judge(
        Calibration(
            model="benchmark",
            version=1,
            model_sha256="0",
            engine_class="onnxruntime-cpu",
            precision="fp32",
            created=datetime.now(UTC),
            sources={} if is_short else sources,
            short=sources if is_short else {},
        )
    )


def flagged(draw: Draw, calibrated: int, tested: int, splits: int, is_short: bool) -> np.ndarray:
    """Return the number of test recordings that are flagged in each split at each alpha: int64[splits, alphas]."""
    rng = np.random.default_rng(0)
    counts = np.zeros((splits, len(ALPHAS)), dtype=np.int64)
    for split in range(splits):
        recordings = draw(rng, calibrated + tested)
        judge = judge_of(recordings[:calibrated], is_short=is_short)
        for scores in recordings[calibrated:]:
            item = verdict(judge, "s", ItemScore.of(scores), is_short=is_short)
            counts[split] += [bool(item.is_anomaly(alpha)) for alpha in ALPHAS]
    return counts


def promise_row(
    name: str, draw: Draw, calibrated: int, tested: int, splits: int, *, is_short: bool = False, ties: bool = False
) -> bool:
    """Print a line for each alpha; return whether all of them agree with the promise. calibrated: at least 99."""
    counts, agrees = flagged(draw, calibrated, tested, splits, is_short), True
    for place, alpha in enumerate(ALPHAS):
        rates = counts[:, place] / tested
        error = rates.std(ddof=1) / np.sqrt(splits)
        above = int((counts[:, place] > alpha * tested + 1e-9).sum())
        flagging = int(alpha * (calibrated + 1) + 1e-9)
        chance = betabinom.sf(np.floor(alpha * tested + 1e-9), tested, flagging, calibrated + 1 - flagging)

        def outside(confidence: float, excess: float, error: float, above: int, chance: float) -> bool:
            low, high = binom.interval(confidence, splits, chance)
            return excess > norm.ppf(0.5 + confidence / 2) * error or above > high or (above < low and not ties)

        measured = (float(rates.mean()) - alpha, float(error), above, float(chance))
        agrees &= not outside(1 - (1 - CONFIDENCE) / COMPARISONS, *measured)
        low, high = binom.interval(CONFIDENCE, splits, chance)
        half = norm.ppf(0.5 + CONFIDENCE / 2) * error
        print(
            f"{name:32s} {calibrated:4d} {tested:4d} {alpha:5.2f} {rates.mean():8.4f} +- {half:.4f} "
            f"{above:6d} of {splits} ({low:.0f} to {high:.0f}){'   OUTSIDE' if outside(CONFIDENCE, *measured) else ''}",
            flush=True,
        )
    return agrees


# Sources: the number of calibration recordings, and the loudness relative to the first source.
SOURCES = {"large": (199, 1.0), "middle": (40, 2.0), "small": (10, 4.0), "tiny": (2, 8.0)}


def promise_by_source(splits: int) -> bool:
    """Print the rate and the bound of each of several sources of one calibration; return whether all rates are within it."""
    rng, draw, agrees = np.random.default_rng(0), data.constructed(2, 6), True
    flagged_of = {source: np.zeros((splits, len(ALPHAS))) for source in SOURCES}
    for split in range(splits):
        recordings = {
            source: [loudness * scores for scores in draw(rng, count + 20)] for source, (count, loudness) in SOURCES.items()
        }
        judge = judge_of({source: each[20:] for source, each in recordings.items()})
        for source, each in recordings.items():
            items = [verdict(judge, source, ItemScore.of(scores)) for scores in each[:20]]
            flagged_of[source][split] = [np.mean([bool(item.is_anomaly(alpha)) for item in items]) for alpha in ALPHAS]
    print("\none calibration, several sources     n alpha  flagged             bound")
    for source, (count, loudness) in SOURCES.items():
        for place, alpha in enumerate(ALPHAS):
            rates, bound = flagged_of[source][:, place], max(alpha, 1 / (count + 1))
            error = rates.std(ddof=1) / np.sqrt(splits)
            agrees &= bool(rates.mean() - norm.ppf(1 - (1 - CONFIDENCE) / COMPARISONS) * error <= bound)
            half = norm.ppf(0.5 + CONFIDENCE / 2) * error
            name = f"{source}, {loudness:g} times as loud"
            print(f"{name:32s} {count:5d} {alpha:5.2f} {rates.mean():8.4f} +- {half:.4f}   {bound:.4f}")
    return agrees


def promise(folder: Path, speech: Path | None, splits: int, only: Sequence[str]) -> tuple[bool, list[Scores], list[Scores]]:
    """Print the first table. Return whether all rows agree, and the normal and the faulty machine recordings."""
    print("Training the models.", file=sys.stderr)
    with contextlib.redirect_stdout(io.StringIO()):
        normal, faulty = data.machine_sounds(folder)
        rows = data.bank_rows(folder)
        spoken = data.digits(speech, data.DIGIT_WINDOW)[0] if speech else []
        short = data.digits(speech, data.LONG_DIGIT_WINDOW)[1] if speech else []
    if not speech:
        print("spoken digits are left out: --data names no folder with fsdd in it")
    print(f"{'recordings':32s} {'n':>4s} {'m':>4s} alpha  flagged             splits above alpha (expected)")
    tables = {name: (draw, 400) for name, draw in CONSTRUCTED.items()}
    tables["machine sound"] = (data.draw_from(normal), len(normal))
    tables["table rows (bank transfers)"] = (data.draw_from(rows), 400)
    if speech:
        tables["spoken digits"] = (data.draw_from(spoken), 400)
        tables[SHORT] = (data.draw_from(short), 400)
    agree = [
        promise_row(name, draw, count // 2 - 1, count // 2, splits, is_short=name == SHORT, ties=name == TIED)
        for name, (draw, count) in tables.items()
        if not only or any(part in name for part in only)
    ]
    return all(agree) and promise_by_source(splits), normal, faulty


def power_mean(order: int) -> Callable[[Scores], float]:
    """Return a function that computes a power mean of the scores of windows."""
    return lambda scores: float(scores.max() * np.mean((scores / scores.max()) ** order) ** (1 / order))


SCORES: dict[str, Callable[[Scores], float]] = {
    "mean": lambda scores: float(scores.mean()),
    "order 4": power_mean(4),
    f"order {ORDER}": power_mean(ORDER),
    "order 16": power_mean(16),
    "largest": lambda scores: float(scores.max()),
}


def detection(calibration: Sequence[Scores], tested: Sequence[Scores]) -> dict[str, float]:
    """Return the share that is flagged at alpha 0.05 for each score of the item."""
    rates = {}
    for name, score in SCORES.items():
        judge = judge_of([np.array([score(scores)]) for scores in calibration])
        rates[name] = float(np.mean([judge.item_p_value("s", score(scores)).value <= 0.05 for scores in tested]))
    return rates


def power(normal: Sequence[Scores], faulty: Sequence[Scores], repetitions: int) -> None:
    """Print the second table: medians over repetitions."""
    rng = np.random.default_rng(0)
    print(f"\n{'one odd window':48s} " + " ".join(f"{name:>9s}" for name in SCORES))
    for lengths in ("equal", "mixed"):
        for factor in ODD_FACTORS:
            for count in (1, 5, 50, 500):
                rates = []
                for _ in range(repetitions):
                    lengths_of = rng.choice([1, 5, 50, 500], CALIBRATED) if lengths == "mixed" else [count] * CALIBRATED
                    calibration = [data.windows(rng, int(length)) for length in lengths_of]
                    tested = [data.windows(rng, count) for _ in range(100)]
                    for scores in tested:
                        scores[rng.integers(count)] *= factor
                    rates.append(detection(calibration, tested))
                name = f"{factor:g} times its score, in {count}, calibrated on {lengths if lengths == 'mixed' else count}"
                print(
                    f"{name:48s} " + " ".join(f"{median(rate[score] for rate in rates):9.2f}" for score in SCORES), flush=True
                )
    order = rng.permutation(len(normal))
    real = detection([normal[place] for place in order[:CALIBRATED]], faulty)
    print(f"{'faulty machines (2 windows, all odd)':48s} " + " ".join(f"{real[score]:9.2f}" for score in SCORES))


def cost() -> None:
    """Print the third table: microseconds for the score and the verdict of one item of 10 windows."""
    rng = np.random.default_rng(0)
    print("\ncalibration recordings of 10 windows   opening, ms   verdict, us (median, and range of 5 runs)")
    for count in (100, 3_000, 30_000):
        started = time.perf_counter()
        judge = judge_of([data.windows(rng, 10) for _ in range(count)])
        opening = time.perf_counter() - started
        item = data.windows(rng, 10)
        runs = []
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(10_000):
                verdict(judge, "s", ItemScore.of(item)).is_anomaly(0.05)
            runs.append((time.perf_counter() - started) / 10_000 * 1e6)
        print(f"{count:38d} {opening * 1e3:13.0f} {median(runs):13.1f} ({min(runs):.1f} to {max(runs):.1f})")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="Folder that holds fsdd.")
    parser.add_argument("--splits", type=int, default=400)
    parser.add_argument("--repetitions", type=int, default=9, help="Repetitions for the table of power.")
    parser.add_argument("--only", default="", help="Parts of row names of the first table, separated by commas.")
    arguments = parser.parse_args()
    speech = arguments.data / "fsdd"
    with tempfile.TemporaryDirectory() as folder:
        only = [part for part in arguments.only.split(",") if part]
        agrees, normal, faulty = promise(Path(folder), speech if speech.is_dir() else None, arguments.splits, only)
    power(normal, faulty, arguments.repetitions)
    cost()
    if not agrees:
        sys.exit("a row is outside of what the promise allows")


if __name__ == "__main__":
    main()
