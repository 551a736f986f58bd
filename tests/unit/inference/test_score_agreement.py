"""anomaly/score_agreement.py: how much the scores of two engines may differ, in the spread of normal scores."""

from __future__ import annotations

import numpy as np
import pytest
from support.calibrations import calibration

from avizor_inference.anomaly.p_values import TIE, Judge
from avizor_inference.anomaly.score_agreement import LEAST_ITEMS, SHARE, agreement
from avizor_inference.repository.calibration import Calibration

# Roots 0.5, 0.55 .. 1.5: median 1, quartiles 0.75 and 1.25.
ROOTS = np.linspace(0.5, 1.5, 21)
ALLOWED = SHARE * 0.5


def of(roots: np.ndarray, probe: float = 1.0, factor: float = 1.0) -> Calibration:
    made = calibration({"a": [[root**2] for root in roots * factor]})
    return made.model_copy(update={"probe_scores": (probe,)})


def test_a_share_of_the_spread_is_allowed() -> None:
    assert agreement(of(ROOTS), (1.0,)).allowed == pytest.approx(ALLOWED)
    assert agreement(of(ROOTS, factor=1000), (1.0,)).allowed == pytest.approx(ALLOWED), "whatever the unit of the values"
    assert agreement(of(ROOTS), ((1 + 0.99 * ALLOWED) ** 2,)).agrees
    assert agreement(of(ROOTS), ((1 - 0.99 * ALLOWED) ** 2,)).agrees
    assert not agreement(of(ROOTS), ((1 + 1.01 * ALLOWED) ** 2,)).agrees
    assert not agreement(of(ROOTS), ((1 - 1.01 * ALLOWED) ** 2,)).agrees


def test_above_the_median_a_difference_is_relative_and_below_it_absolute() -> None:
    assert agreement(of(ROOTS, 9.0), (9.0 * 1.01**2,)).difference == pytest.approx(0.01)
    assert agreement(of(ROOTS, 1e-8), (4e-8,)).difference == pytest.approx(1e-4)


def test_the_source_with_the_smallest_spread_decides() -> None:
    both = calibration({"wide": [[root**2] for root in ROOTS], "narrow": [[(10 + root / 10) ** 2] for root in ROOTS]})
    found = agreement(both.model_copy(update={"probe_scores": (121.0,)}), (121.0,))
    assert found.allowed == pytest.approx(SHARE * 0.05 / 10.1, rel=1e-4)
    short = calibration({"a": [[root**2] for root in ROOTS]}, {"a": [[(10 + root / 10) ** 2] for root in ROOTS]})
    assert agreement(short.model_copy(update={"probe_scores": (121.0,)}), (121.0,)).allowed == pytest.approx(found.allowed)


@pytest.mark.parametrize("roots", [ROOTS[: LEAST_ITEMS - 1], np.ones(50), np.zeros(50)])
def test_without_a_spread_only_ties_are_allowed(roots: np.ndarray) -> None:
    made = of(roots)
    assert agreement(made, (1 + 0.9 * TIE,)).agrees
    assert not agreement(made, (1 + 1.1 * TIE,)).agrees


def test_what_is_allowed_counts_as_a_tie_unless_no_more_than_rounding_was_seen() -> None:
    assert agreement(of(ROOTS), (1 + 0.9 * TIE,)).tie == TIE
    assert agreement(of(ROOTS), (1 + 1.1 * TIE,)).tie == pytest.approx(2 * ALLOWED)
    assert agreement(of(np.ones(50)), (1 + 0.9 * TIE,)).tie == TIE


@pytest.mark.parametrize("steps", [3, 50, 10**6])
def test_an_engine_that_is_off_by_what_is_allowed_never_makes_a_p_value_smaller(steps: int) -> None:
    """Also if many scores are equal, when a shift without ties would put them above all their equals."""
    rng = np.random.default_rng(0)
    roots = np.round(rng.lognormal(0, 0.3, 300) * steps) / steps
    made = of(roots[:200])
    compared = agreement(made, ((1 + ALLOWED / 3) ** 2,))
    own, other = Judge(made), Judge(made, compared.tie)
    median = float(np.median(roots[:200]))
    for root in roots[200:]:
        for sign in (-1, 1):
            altered = root + sign * compared.allowed * max(root, median)
            expected = own.item_p_value("a", root**2).value
            if sign < 0 or root >= median:
                assert other.item_p_value("a", altered**2).value >= expected
            else:
                assert other.item_p_value("a", altered**2).value >= 0.5


def test_the_worst_item_decides() -> None:
    made = of(ROOTS).model_copy(update={"probe_scores": (1.0, 2.0, 3.0)})
    assert agreement(made, (1.0, 2.0, 3.0)).difference == 0
    assert not agreement(made, (1.0, 2.5, 3.0)).agrees
    with pytest.raises(ValueError, match="shorter"):
        agreement(made, (1.0, 2.0))


@pytest.mark.parametrize("actual", [float("nan"), float("inf"), -1.0])
def test_what_is_not_a_score_never_agrees(actual: float) -> None:
    assert not agreement(of(ROOTS), (actual,)).agrees


def test_scores_of_zero_agree_with_each_other_alone() -> None:
    made = of(np.zeros(50), probe=0.0)
    assert agreement(made, (0.0,)).agrees
    assert not agreement(made, (1e-12,)).agrees
