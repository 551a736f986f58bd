"""How probable it is that healthy data meets the condition of AvizorAnomalyBudgetBurn (monitoring/prometheus/rules).

    python benchmarks/alert_false_alarms.py

With n calibration recordings the flagged share of normal items is Beta(k, n + 1 - k), k = floor(alpha (n + 1)), so that the
number flagged among N items is beta-binomial (Vovk, "Conditional validity of inductive conformal predictors", 2012). The
condition on the long window is at least 50 flagged and a share above 1 - (1 - alpha)^12; the table gives its probability at the
worst N. The short window, which has to agree, is left out: the figures are upper bounds. Items that come in clusters of equal
fate (one recording sent in several items) are counted as N / cluster independent ones.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, betabinom

FLAGGED = 50  # minimum volume of the rule
TWELVE = 12  # exponent of the rule's limit

VOLUMES = np.unique(np.geomspace(FLAGGED, 20_000, 300).astype(int))


def limit(alpha: float) -> float:
    """Flagged share above which the rule fires: the chance that of twelve normal items at least one is flagged."""
    return float(1 - (1 - alpha) ** TWELVE)


def probability(alpha: float, recordings: int, cluster: int = 1) -> float:
    """Of the condition on healthy data, at the volume that is worst; `recordings` support alpha, `cluster` >= 1."""
    k = int(alpha * (recordings + 1) + 1e-9)
    units = np.unique(np.maximum(1, VOLUMES // cluster))
    needed = np.maximum(np.ceil(FLAGGED / cluster), np.floor(limit(alpha) * units) + 1)
    return float(np.max(betabinom.sf(needed - 1, units, k, recordings + 1 - k)))


def endless(alpha: float, recordings: int) -> float:
    """The same without end of items: what is left is the luck of the calibration alone."""
    k = int(alpha * (recordings + 1) + 1e-9)
    return float(beta.sf(limit(alpha), k, recordings + 1 - k))


def recordings_for(alpha: float, bound: float, cluster: int = 1) -> int:
    """The least number of calibration recordings from which on the probability stays under `bound`."""
    least = int(np.ceil(1 / alpha - 1e-9)) - 1
    sizes = list(range(least, 20 * (least + 1)))
    return next(n for n in sizes if max(probability(alpha, m, cluster) for m in range(n, n + int(1 / alpha) + 1)) < bound)


def main() -> None:
    """Print the table."""
    print("alpha   recordings   limit   P(condition), items alone   in clusters of 5   endless stream")
    for alpha in (0.01, 0.05, 0.1):
        least = round(1 / alpha) - 1
        for recordings in (least, 2 * least + 1, 4 * least + 3, 10 * least + 9):
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
