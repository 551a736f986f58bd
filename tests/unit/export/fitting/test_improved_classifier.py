"""fitting/classifier/improve.py: what is told of the figures before and after."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from avizor_export.fitting.classifier.confusion import Confusion
from avizor_export.fitting.classifier.improve import ImprovedClassifier, is_better, sign_test


def confusion(*counts: list[int]) -> Confusion:
    return Confusion(["a", "b"], np.array(counts))


@pytest.mark.parametrize(("won", "lost"), [(5, 0), (3, 1), (0, 4), (7, 7), (40, 20)])
def test_the_sign_test_is_that_of_scipy(won: int, lost: int) -> None:
    assert sign_test(won, lost) == pytest.approx(binomtest(won, won + lost, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("won", "lost", "is_chance"), [(6, 1, True), (1, 6, True), (7, 7, True), (9, 1, False), (1, 9, False), (0, 20, False)]
)
def test_a_difference_may_be_chance_whichever_way_it_goes(won: int, lost: int, is_chance: bool) -> None:
    figures = confusion([90, 10], [5, 5])
    earlier: Any = SimpleNamespace(version=1)
    lines = "\n".join(ImprovedClassifier(figures, figures, won, lost, None, ()).lines(earlier))
    assert f"of these items {won} are right that were wrong before, and {lost} wrong that were right" in lines
    assert ("that may be chance" in lines) == is_chance


def test_a_version_is_better_by_either_accuracy() -> None:
    before = confusion([90, 10], [5, 5])
    assert is_better(confusion([91, 9], [5, 5]), before)
    assert is_better(confusion([88, 12], [4, 6]), before)  # of equally many items of each class
    assert not is_better(before, before)
    assert not is_better(confusion([89, 11], [5, 5]), before)
