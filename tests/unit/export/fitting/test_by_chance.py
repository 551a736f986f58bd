"""fitting/by_chance.py: how many new normal items a calibration flags by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from avizor_export.fitting.by_chance import Asked, chance_of_as_many


def simulated(flagged: int, asked: Sequence[Asked], alpha: float) -> float:
    """The share of 40 000 draws in which as many new scores have a p-value of at most alpha; all scores are alike."""
    random, count = np.random.default_rng(0), np.zeros(40_000, int)
    for each in asked:
        calibration, new = random.random((2, 40_000, max(each.new, each.calibration)))
        calibration, new = calibration[:, : each.calibration], new[:, : each.new]
        above = (calibration[:, None, :] >= new[:, :, None]).sum(axis=2)
        count += ((1 + above) / (each.calibration + 1) <= alpha).sum(axis=1)
    return float(np.mean(count >= flagged))


@pytest.mark.parametrize(
    ("flagged", "asked", "alpha"),
    [
        (4, [Asked(8, 20), Asked(8, 20)], 0.05),
        (2, [Asked(15, 19)], 0.05),
        (6, [Asked(10, 60), Asked(4, 25)], 0.1),
        (1, [Asked(3, 10)], 0.1),
    ],
)
def test_the_chance_is_that_of_scores_that_are_all_alike(flagged: int, asked: list[Asked], alpha: float) -> None:
    assert chance_of_as_many(flagged, asked, alpha) == pytest.approx(simulated(flagged, asked, alpha), abs=0.01)


def test_any_number_of_items_is_none_or_more() -> None:
    assert chance_of_as_many(0, [Asked(8, 20), Asked(500, 4000)], 0.05) == pytest.approx(1)


def test_all_of_one_group_with_one_item_are_a_beta_binomial_by_hand() -> None:
    # one new item of 20: it is the largest of 21 scores in 1 of 21 cases
    assert chance_of_as_many(1, [Asked(1, 20)], 0.05) == pytest.approx(1 / 21)


def test_a_cross_fitted_calibration_is_held_to_what_it_promises() -> None:
    """Which is 2 (1 + 5 - 1) / 25 = 0.4, or (1 + 4 - 1) / 24 = 1 / 6, of 20 items in 5 folds: the smaller one."""
    assert chance_of_as_many(1, [Asked(1, 20)], 0.05, folds=5) == pytest.approx(1 / 6)
