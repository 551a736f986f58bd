"""Measure how soon a drift of scores is told, beside the alert on flagged items, and that healthy scores stay silent.

    python benchmarks/drift.py [--sources 200]

Scores are normal with the spread 1; p-values depend on ranks alone, so any other continuous distribution gives the same where
the scores of the fault have moved as far in its ranks. A fault moves them by so many spreads, after 500 healthy items. Told
by drift: avizor_drift_log_martingale is over the limit of AvizorScoreDrift. By flags: the condition of
AvizorAnomalyBudgetBurn, on all items of the fault so far. Medians over sources, each with a calibration of its own; in
brackets the 10th and 90th percentile; and the share that is told within 5,000 items, if it is not all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from alert_false_alarms import FLAGGED, limit

from avizor_inference.anomaly.drift import ALERT, DriftDetector

ALPHA, BEFORE, ITEMS = 0.05, 500, 5000
SHIFTS = (-3.0, -1.0, 0.5, 1.0, 2.0, 3.0)
Ranks = NDArray[np.float64]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=int, default=200)
    sources = parser.parse_args().sources
    rng = np.random.default_rng(0)
    print(f"healthy: largest evidence in {20 * ITEMS:,} items of each of {sources} sources; the alert fires above {ALERT:g}\n")
    print("| calibration items | median | 99th percentile | largest |\n|---:|---:|---:|---:|")
    for count in (19, 99, 1000):
        largest = [_largest(rng, count, 20 * ITEMS) for _ in range(sources)]
        print(f"| {count:,} | {np.median(largest):.1f} | {np.percentile(largest, 99):.1f} | {max(largest):.1f} |")
    print("\n| calibration items | scores move by | flagged | items until drift is told | until flags tell |")
    print("|---:|---:|---:|---:|---:|")
    for count in (19, 99, 1000):
        for shift in SHIFTS:
            found = [_until_told(rng, count, shift) for _ in range(sources)]
            flagged, drift, flags = (list(each) for each in zip(*found, strict=True))
            print(f"| {count:,} | {shift:+g} | {np.mean(flagged):.0%} | {_shown(drift)} | {_shown(flags)} |")


def _p_values(calibration: Ranks, scores: Ranks) -> tuple[Ranks, Ranks]:
    larger = len(calibration) - np.searchsorted(calibration, scores, side="left")
    smaller = np.searchsorted(calibration, scores, side="right")
    return (1 + larger) / (len(calibration) + 1), (1 + smaller) / (len(calibration) + 1)


def _largest(rng: np.random.Generator, count: int, items: int) -> float:
    calibration, detector, largest = np.sort(rng.standard_normal(count)), DriftDetector(), 0.0
    for p_value, low in zip(*_p_values(calibration, rng.standard_normal(items)), strict=True):
        detector.add(p_value, low, count)
        largest = max(largest, detector.log_martingale)
    return largest


def _until_told(rng: np.random.Generator, count: int, shift: float) -> tuple[float, int | None, int | None]:
    """Return the share that is flagged, and the items of a fault until it is told by drift and by flags; None: not told."""
    calibration, detector = np.sort(rng.standard_normal(count)), DriftDetector()
    for p_value, low in zip(*_p_values(calibration, rng.standard_normal(BEFORE)), strict=True):
        detector.add(p_value, low, count)
    by_drift, (p_values, lows) = None, _p_values(calibration, rng.standard_normal(ITEMS) + shift)
    for place, (p_value, low) in enumerate(zip(p_values, lows, strict=True), 1):
        detector.add(p_value, low, count)
        if detector.log_martingale > ALERT:
            by_drift = place
            break
    flagged = np.cumsum(p_values <= ALPHA)
    over = np.flatnonzero((flagged >= FLAGGED) & (flagged > limit(ALPHA) * np.arange(1, ITEMS + 1)))
    return flagged[-1] / ITEMS, by_drift, int(over[0]) + 1 if len(over) else None


def _shown(found: list[int | None]) -> str:
    told = [each for each in found if each is not None]
    if not told:
        return "never"
    low, middle, high = np.percentile(told, [10, 50, 90])
    share = "" if len(told) == len(found) else f", {len(told) / len(found):.0%} told"
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f}){share}"


if __name__ == "__main__":
    main()
