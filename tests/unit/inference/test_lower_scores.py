"""lower_scores.py: a calibration with items that the model was trained with is noticed, and one with others is not."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from avizor_inference.anomaly.lower_scores import warning_of_lower_scores
from avizor_inference.repository.calibration import Calibration

Scores = NDArray[np.float64]


def calibration(**scores_by_source: Scores) -> Calibration:
    """A calibration whose items have one window each, with these scores."""
    return Calibration(
        model="m",
        version=1,
        model_sha256="0" * 64,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        engine_class="onnxruntime-cpu",
        precision="fp32",
        sources={source: tuple((float(score),) for score in scores) for source, scores in scores_by_source.items()},
    )


def scores(count: int, seed: int, scale: float = 1.0) -> Scores:
    return scale * np.random.default_rng(seed).lognormal(0, 0.5, count)


def test_items_of_which_most_were_trained_with_are_noticed() -> None:
    held_out, trained = scores(90, 1), scores(210, 2, scale=0.5)
    warning = warning_of_lower_scores(calibration(a=np.concatenate([trained, held_out])), old := calibration(a=held_out))
    assert f"score lower than those of {old.id}" in warning
    assert "give items that it was not trained with" in warning


@pytest.mark.parametrize("seed", range(50))
def test_other_items_that_are_alike_are_not(seed: int) -> None:
    assert not warning_of_lower_scores(calibration(a=scores(300, seed)), calibration(a=scores(90, seed + 1000)))


def test_the_same_items_are_not() -> None:
    assert not warning_of_lower_scores(calibration(a=scores(90, 1)), calibration(a=scores(90, 1)))
    assert not warning_of_lower_scores(calibration(a=np.ones(90)), calibration(a=np.ones(90)))


def test_items_that_score_higher_are_not() -> None:
    assert not warning_of_lower_scores(calibration(a=scores(90, 1, scale=3)), calibration(a=scores(90, 2)))


def test_a_difference_that_is_small_is_not_even_of_very_many_items() -> None:
    assert not warning_of_lower_scores(calibration(a=scores(20_000, 1, scale=0.95)), calibration(a=scores(20_000, 2)))


def test_a_few_items_prove_nothing() -> None:
    assert not warning_of_lower_scores(calibration(a=scores(3, 1, scale=0.01)), calibration(a=scores(3, 2)))


def test_each_source_is_compared_with_itself() -> None:
    """A quiet source with more items than before lowers the scores of all, and of none of them."""
    new = calibration(loud=scores(20, 1, scale=9), quiet=scores(400, 2, scale=0.1))
    assert not warning_of_lower_scores(new, calibration(loud=scores(400, 3, scale=9), quiet=scores(20, 4, scale=0.1)))
    assert warning_of_lower_scores(calibration(b=scores(300, 1, scale=0.1)), calibration(a=scores(90, 2)))
