"""Compute the probability that normal data meets the condition of AvizorAnomalyBudgetBurn (monitoring/prometheus/rules).

    python benchmarks/alert_false_alarms.py

With n calibration recordings the flagged share of normal items is Beta(k, n + 1 - k), k = floor(alpha (n + 1)), so that the
number flagged among N items is beta-binomial (Vovk, "Conditional validity of inductive conformal predictors", 2012). The
condition on the long window is at least 50 flagged and a share above 1 - (1 - alpha)^12; the table shows its probability at the
worst N. The short window, which has to meet it too, is ignored: the results are upper bounds. Items in clusters that are all
flagged or all not (one recording sent as several items) are counted as N / cluster independent ones.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, betabinom

FLAGGED = 50  # minimum volume of the rule
FLAGGED_IN_A_JOB = 30  # of AvizorBatchAnomalyBudget, which looks once at each job
TWELVE = 12  # exponent of the rule's limit


def limit(alpha: float) -> float:
    """Return the flagged share above which the rule fires: the probability that at least one of twelve normal items is."""
    return float(1 - (1 - alpha) ** TWELVE)


def probability(alpha: float, recordings: int, cluster: int = 1, flagged: int = FLAGGED) -> float:
    """Return the probability of the condition on normal data, at the worst volume.

    recordings: calibration recordings, enough for alpha. cluster: items that are flagged together, at least 1. flagged: least
    number of flagged items.
    """
    k = int(alpha * (recordings + 1) + 1e-9)
    volumes = np.unique(np.geomspace(flagged, 20_000, 300).astype(int))
    units = np.unique(np.maximum(1, volumes // cluster))
    needed = np.maximum(np.ceil(flagged / cluster), np.floor(limit(alpha) * units) + 1)
    return float(np.max(betabinom.sf(needed - 1, units, k, recordings + 1 - k)))


def endless(alpha: float, recordings: int) -> float:
    """Return the probability for endlessly many items: only the calibration is random."""
    k = int(alpha * (recordings + 1) + 1e-9)
    return float(beta.sf(limit(alpha), k, recordings + 1 - k))


def recordings_for(alpha: float, bound: float, cluster: int = 1) -> int:
    """Return the number of calibration recordings from which on the probability stays below `bound`."""
    minimum = int(np.ceil(1 / alpha - 1e-9)) - 1
    sizes = list(range(minimum, 20 * (minimum + 1)))
    return next(n for n in sizes if max(probability(alpha, m, cluster) for m in range(n, n + int(1 / alpha) + 1)) < bound)


def main() -> None:
    """Print the table."""
    print("alpha   recordings   limit   P(condition), items alone   in clusters of 5   endless stream")
    for alpha in (0.01, 0.05, 0.1):
        minimum = round(1 / alpha) - 1
        for recordings in (minimum, 2 * minimum + 1, 4 * minimum + 3, 10 * minimum + 9):
            print(
                f"{alpha:5.2f} {recordings:12d} {limit(alpha):7.3f} {probability(alpha, recordings):20.1e}"
                f" {probability(alpha, recordings, 5):22.1e} {endless(alpha, recordings):16.1e}"
            )
        print(
            f"       under 1e-4 from {recordings_for(alpha, 1e-4)} recordings on;"
            f" in clusters of 5 from {recordings_for(alpha, 1e-4, 5)}"
        )


if __name__ == "__main__":
    main()
