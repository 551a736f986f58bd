"""What a cross-fitted calibration promises is computed, said, and kept."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from avizor_inference.anomaly.calibration_text import cross_fitted_note, describe_calibration
from avizor_inference.anomaly.cross_fitted import promised_rate
from avizor_inference.anomaly.p_values import Judge, require_alpha
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration, Scores


def calibration(scores: list[float], folds: int) -> Calibration:
    items: dict[str, tuple[Scores, ...]] = {"default": tuple((score,) for score in scores)}
    return Calibration(
        model="pump",
        version=1,
        model_sha256="0" * 64,
        engine_class="onnxruntime-cpu",
        precision="fp32",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        sources=items,
        folds=folds,
    )


def test_folds_of_one_item_promise_alpha_itself() -> None:
    assert promised_rate(99, 99, 0.05) == pytest.approx(5 / 100)


def test_the_smaller_of_the_two_bounds_is_taken() -> None:
    assert promised_rate(100, 5, 0.05) == pytest.approx(2 * (5 + 4) / 105)  # 0.171; by folds of 20 it would be 0.2
    assert promised_rate(50, 5, 0.05) == pytest.approx((2 + 9) / 60)
    assert promised_rate(51, 5, 0.05) == pytest.approx(2 * (2 + 4) / 56)  # folds that are not equal


def test_without_folds_alpha_is_promised() -> None:
    assert promised_rate(100, 0, 0.05) == 0.05
    assert promised_rate(9, 0, 0.05) == 0.1


def test_too_few_items_promise_nothing() -> None:
    assert promised_rate(3, 5, 0.05) == 1.0


@pytest.mark.parametrize(("items", "folds", "noise"), [(20, 5, 3.0), (20, 20, 3.0), (40, 4, 1.0), (50, 5, 0.0)])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_the_rate_is_within_the_bound_whatever_the_detectors_are(items: int, folds: int, noise: float, alpha: float) -> None:
    """A detector is its training items: the score is the distance to their mean, and a noise that each detector has."""
    rng = np.random.default_rng([items, folds, int(noise)])
    flagged = 0
    rounds = 300
    for _ in range(rounds):
        values = rng.standard_cauchy(items + 1)
        fold = np.arange(items) % folds
        detectors = [(values[:items][fold != each].mean(), rng.uniform(0, noise)) for each in range(folds)]
        own = [abs(values[item] - detectors[fold[item]][0]) + detectors[fold[item]][1] for item in range(items)]
        least = min(abs(values[items] - mean) + more for mean, more in detectors)
        flagged += Judge(calibration(own, folds)).item_p_value("default", least).value <= alpha
    bound = promised_rate(items, folds, alpha)
    assert flagged / rounds <= bound + 3 * np.sqrt(bound / rounds)


def test_the_note_says_the_weaker_promise() -> None:
    made = calibration([float(score) for score in range(50)], 5)
    note = cross_fitted_note(made)
    assert "cross-fitted in 5 folds: at alpha 0.05, at most 18.3% of normal items are flagged on average" in note
    assert note in list(describe_calibration(made))
    assert "at alpha 0.1, at most 23.3%" in cross_fitted_note(made, 0.1)
    assert cross_fitted_note(calibration([1.0], 0)) == ""


def test_a_confidence_is_refused() -> None:
    made = calibration([float(score) for score in range(100)], 5)
    require_alpha(made, 0.05)
    with pytest.raises(CalibrationError, match="cross-fitted, and promises a rate on average alone"):
        require_alpha(made, 0.05, 0.95)


def test_calibrations_without_folds_keep_their_ids() -> None:
    assert "folds" not in calibration([1.0], 0).model_dump()
    assert calibration([1.0], 5).id != calibration([1.0], 0).id
