"""Whether two ways to score put items in the same order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Fewer different scores than this say nothing about their order.
_FEWEST_RANKS = 8
# Scores whose difference is a smaller share of them are the same but for rounding.
_TIE = 1e-5


def rank_correlation(pairs: NDArray[np.float64], noise: float = 0.0) -> float | None:
    """Spearman's rank correlation of the two columns of float64[n, 2]; None where too few values differ to rank them.

    What differs by rounding, or by less than `noise`, is a tie, and ties share their mean rank.
    """
    ranks = [_ranks(column, noise) for column in pairs.T]
    if min(len(np.unique(column)) for column in ranks) < _FEWEST_RANKS:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    order = np.argsort(values)
    ascending = values[order]
    # By the distance of neighbours: digits that are rounded off would part what lies on both sides of a half.
    is_next = np.diff(ascending) > _TIE * np.abs(ascending[1:]) + noise
    group = np.concatenate([[0], np.cumsum(is_next)])
    counts = np.bincount(group)
    ranks = np.empty(len(values))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks
