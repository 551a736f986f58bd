"""Notice a calibration whose items score lower than those of an earlier one: the model may have been trained with some of them.

The scores of each source are compared by the rank-sum test of Mann and Whitney ("On a test of whether one of two random
variables is stochastically larger than the other", 1947); its statistics are added over the sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avizor_inference.anomaly.item_score import item_scores
from avizor_inference.repository.calibration import Calibration

# Standard deviations below what is expected of items that are alike: by chance once in 30,000.
_DEVIATIONS = 4.0
# Share of pairs in which the new item has the lower score. Of very many items a smaller difference is not by chance either, but
# changes little.
_SHARE = 0.6


def warning_of_lower_scores(new: Calibration, old: Calibration) -> str:
    """Return a warning if the items of a new calibration score lower than those of an earlier one of the version; else ""."""
    pairs = _alike(new, old)
    above = sum(_pairs_above(*pair) for pair in pairs)
    count = sum(len(news) * len(olds) for news, olds in pairs)
    variance = sum(len(news) * len(olds) * (len(news) + len(olds) + 1) / 12 for news, olds in pairs)
    if not count or above > (1 - _SHARE) * count or above > count / 2 - _DEVIATIONS * variance**0.5:
        return ""
    return (
        f"Warning: these items score lower than those of {old.id}: of a new one and one of those, the new one has the lower "
        f"score in {1 - above / count:.0%} of all pairs. If the model was trained with some of them, more than alpha of other "
        "items will be flagged: then give items that it was not trained with."
    )


def _alike(new: Calibration, old: Calibration) -> Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the scores of the items of each source that both have; of all together if they have none in common."""
    common = sorted(new.sources.keys() & old.sources.keys())
    if common:
        return [(_scores(new, [source]), _scores(old, [source])) for source in common]
    return [(_scores(new, list(new.sources)), _scores(old, list(old.sources)))]


def _scores(calibration: Calibration, sources: Sequence[str]) -> NDArray[np.float64]:
    return np.sort(item_scores(item for source in sources for item in calibration.sources[source]))


def _pairs_above(news: NDArray[np.float64], olds: NDArray[np.float64]) -> float:
    """Return in how many pairs the new score is the higher one; a tie is half a pair. Both are sorted."""
    return float((olds.searchsorted(news, "left") + olds.searchsorted(news, "right")).sum()) / 2
