import re
from datetime import UTC, datetime

import numpy as np
import pytest

from avizor_inference.calibration import POOLED, Calibration, Verdicts, recordings_needed
from avizor_inference.errors import CalibrationError


def calibration(**sources: list[list[float]]) -> Calibration:
    scores = {source: tuple(tuple(windows) for windows in recordings) for source, recordings in sources.items()}
    return Calibration(
        model="m", version=1, model_sha256="0", provider="CPUExecutionProvider", created=datetime.now(UTC), sources=scores
    )


def normal(rng: np.random.Generator, recordings: int, windows: int) -> list[list[float]]:
    """Windows of one recording resemble each other: a level of its own, and a little noise."""
    return [(rng.normal() + 0.3 * rng.normal(size=windows)).tolist() for _ in range(recordings)]


def test_window_p_value_by_hand() -> None:
    verdicts = Verdicts("a", 0.5, ((1.0, 3.0), (2.0,), (4.0, 5.0)))
    # at or above 3: half of the first recording, none of the second, all of the third
    np.testing.assert_allclose(verdicts.window_p(np.array([3.0])), (1 + 0.5 + 0 + 1) / 4)
    np.testing.assert_allclose(verdicts.window_p(np.array([0.0, 9.0])), [1.0, 0.25])


def test_recording_p_value_compares_with_as_many_windows() -> None:
    verdicts = Verdicts("a", 0.5, ((1.0, 9.0), (2.0,), (4.0, 5.0)))
    assert verdicts.recording_p([3.0]) == (1 + 1) / 4  # first windows: 1, 2, 4
    assert verdicts.recording_p([3.0, 6.0]) == (1 + 1) / 3  # of two windows: 9, 5


def test_a_longer_recording_is_cut_into_blocks() -> None:
    verdicts = Verdicts("a", 0.2, tuple((float(score),) for score in range(9)))
    assert verdicts.recording_p([20.0]) == 0.1
    assert verdicts.recording_p([20.0, 0.0, 0.0]) == pytest.approx(0.3)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("windows", [1, 3, 7])
def test_false_alarms_stay_at_alpha_on_average(alpha: float, windows: int) -> None:
    """Over 300 calibrations of 60 recordings of three windows, and new recordings of 1, 3 and 7."""
    rng = np.random.default_rng(1)
    by_recording, by_window = [], []
    for _ in range(300):
        verdicts = calibration(a=normal(rng, 60, 3)).for_source("a", alpha)
        for scores in normal(rng, 20, windows):
            by_recording.append(verdicts.recording_p(scores) <= alpha)
            by_window.append(np.mean(verdicts.window_p(np.array(scores)) <= alpha))
    standard_error = np.sqrt(alpha * (1 - alpha) / 300)  # calibrations, not items, are what varies
    assert np.mean(by_recording) <= alpha + 3 * standard_error
    assert np.mean(by_window) <= alpha + 3 * standard_error
    if windows == 3:  # like the calibration's: not only kept but used
        assert np.mean(by_recording) >= alpha / 2


def test_p_values_of_normal_recordings_are_uniform() -> None:
    rng = np.random.default_rng(2)
    values = [calibration(a=normal(rng, 99, 2)).for_source("a", 0.1).recording_p(normal(rng, 1, 2)[0]) for _ in range(2000)]
    for level in (0.1, 0.3, 0.5, 0.9):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=0.035)


def test_a_source_with_too_few_recordings_is_judged_by_the_pool() -> None:
    both = calibration(many=[[1.0]] * 99, few=[[2.0]] * 5)
    assert both.for_source("many", 0.01).source == "many"
    assert both.for_source("few", 0.01).source == POOLED
    assert both.for_source("never seen", 0.01).source == POOLED
    assert len(both.for_source("few", 0.01).recordings) == 104


def test_an_alpha_that_cannot_be_supported_is_refused_with_the_mend() -> None:
    with pytest.raises(CalibrationError, match=r"at least 99 normal recordings .* has 50; alpha 0.02 or more will do"):
        calibration(a=[[1.0]] * 50).for_source("a", 0.01)
    for alpha in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(CalibrationError, match="not between 0 and 1"):
            recordings_needed(alpha)


@pytest.mark.parametrize("recordings", [1, 2, 7, 60, 98, 150, 240, 999, 1234])
def test_the_alpha_that_the_refusal_names_is_supported(recordings: int) -> None:
    few = calibration(a=[[1.0]] * recordings)
    with pytest.raises(CalibrationError) as refusal:
        few.for_source("a", 1e-5)
    named = re.search(r"alpha (\S+) or more", str(refusal.value))
    assert named is not None
    assert few.for_source("a", float(named[1])).source == "a"
    assert float(named[1]) <= 1.1 / (recordings + 1)


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.05, 19), (0.01, 99), (0.001, 999), (0.03, 33)])
def test_recordings_needed(alpha: float, needed: int) -> None:
    assert recordings_needed(alpha) == needed
    assert 1 / (needed + 1) <= alpha + 1e-12
    assert 1 / needed > alpha


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="should be a finite number"):
        calibration(a=[[float("nan")]])
    with pytest.raises(ValueError, match="without windows"):
        calibration(a=[[]])
