"""anomaly/p_values.py returns what crepes returns, a library of conformal prediction, where both compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from crepes.base import p_values_batch
from numpy.typing import NDArray
from support.calibrations import calibration

from avizor_inference.anomaly.p_values import Judge

Floats = NDArray[np.float64]


def scores(seed: int, count: int, ties: bool) -> Floats:
    """Items of one window; on a coarse grid many are equal. All are numbers of float32, which item scores are rounded to."""
    grid = 8 if ties else 4096
    return np.ceil(np.random.default_rng(seed).lognormal(size=count) * grid) / grid


def by_crepes(calibrated: Floats, new: Floats, **bins: Any) -> Floats:
    p_values: Floats = p_values_batch(calibrated, new, smoothing=False, **bins)
    return p_values


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [1, 19, 200])
def test_items_of_one_source(count: int, ties: bool) -> None:
    calibrated, new = scores(1, count, ties), scores(2, 300, ties)
    judge = Judge(calibration({"a": [[score] for score in calibrated]}))
    ours = [judge.item_p_value("a", score).value for score in new]
    np.testing.assert_allclose(ours, by_crepes(calibrated, new), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_items_of_a_source_that_was_never_calibrated(ties: bool) -> None:
    a, b, new = scores(1, 30, ties), scores(2, 70, ties), scores(3, 300, ties)
    judge = Judge(calibration({"a": [[score] for score in a], "b": [[score] for score in b]}))
    ours = [judge.item_p_value("c", score).value for score in new]
    np.testing.assert_allclose(ours, by_crepes(np.concatenate([a, b]), new), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_items_of_several_sources_as_of_mondrian_categories(ties: bool) -> None:
    """The category is the source. Beyond all items of its source, an item has the smaller p-value of source and pool."""
    calibrated = {source: factor * scores(place, 20 * (place + 1), ties) for place, (source, factor) in enumerate(
        [("a", 1.0), ("b", 2.0), ("c", 0.5)])}  # fmt: skip
    judge = Judge(calibration({source: [[score] for score in each] for source, each in calibrated.items()}))
    pool, bins = np.concatenate(list(calibrated.values())), np.repeat(list(calibrated), list(map(len, calibrated.values())))
    new, sources = scores(9, 600, ties), np.tile(list(calibrated), 200)
    by_source = by_crepes(pool, new, bins_cal=bins, bins_test=sources)
    smallest = np.array([1 / (len(calibrated[source]) + 1) for source in sources])
    expected = np.where(by_source <= smallest, np.minimum(by_source, by_crepes(pool, new)), by_source)
    assert 0 < np.mean(expected < by_source) < 0.5  # both rules are compared
    ours = [judge.item_p_value(source, score).value for source, score in zip(sources, new, strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_recordings_of_several_windows_by_their_item_scores() -> None:
    rng = np.random.default_rng(4)
    recordings = [rng.lognormal(size=rng.integers(1, 9)).tolist() for _ in range(140)]
    # The power mean of order 8, by hand.
    items = np.array([np.float32(np.mean(np.array(windows) ** 8.0) ** 0.125) for windows in recordings], np.float64)
    judge = Judge(calibration({"a": recordings[:99]}))
    ours = [judge.item_p_value("a", score).value for score in items[99:]]
    np.testing.assert_allclose(ours, by_crepes(items[:99], items[99:]), rtol=0, atol=1e-12)
