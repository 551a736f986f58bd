"""Compare the order in which two sets of scores rank items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# With fewer different scores than this, their order says nothing.
_FEWEST_RANKS = 8
# Two scores whose difference is a smaller share of them differ only by rounding.
_TIE = 1e-5


def rank_correlation(pairs: NDArray[np.float64], noise: float = 0.0) -> float | None:
    """Return Spearman's rank correlation of the two columns of float64[n, 2], -1..1; None if too few values differ.

    Values that differ by rounding, or by less than `noise`, are ties. Ties share their mean rank.
    """
    ranks = [_ranks(column, noise) for column in pairs.T]
    if min(len(np.unique(column)) for column in ranks) < _FEWEST_RANKS:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    order = np.argsort(values)
    ascending = values[order]
    # Neighbours are compared by their distance: rounding to fewer digits would separate two values on both sides of a half.
    is_next = np.diff(ascending) > _TIE * np.abs(ascending[1:]) + noise
    group = np.concatenate([[0], np.cumsum(is_next)])
    counts = np.bincount(group)
    ranks = np.empty(len(values))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks
