"""anomaly/p_values.py: p-values by hand, the sources they come from, and the number of items that an alpha needs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from support.calibrations import Recordings, calibration

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, PValue, recordings_needed, require_alpha, under_calibrated
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import POOLED


def judge(*, short: dict[str, Recordings] | None = None, **sources: Recordings) -> Judge:
    return Judge(calibration(sources, short))


def p_value(of: Judge, source: str, scores: Sequence[float], *, is_short: bool = False) -> float:
    return of.item_p_value(source, ItemScore.of(np.array(scores)).value, is_short=is_short).value


def test_item_p_value_by_hand() -> None:
    by_hand = judge(a=[[1.0, 1.0], [2.0], [4.0, 4.0, 4.0]])
    assert p_value(by_hand, "a", [3.0]) == (1 + 1) / 4
    assert p_value(by_hand, "a", [2.0, 2.0]) == (1 + 2) / 4
    assert p_value(by_hand, "a", [9.0] * 50) == 1 / 4
    assert p_value(by_hand, "a", [0.0]) == 1.0


def test_window_p_value_by_hand() -> None:
    by_hand = judge(a=[[1.0, 3.0], [2.0], [4.0, 5.0]])
    # at or above 3: half of the first recording, none of the second, all of the third
    p_values, judged_by = by_hand.window_p_values("a", np.array([3.0, 0.0, 9.0]))
    np.testing.assert_allclose(p_values, [(1 + 0.5 + 0 + 1) / 4, 1.0, 0.25])
    assert judged_by == ["a", "a", "a"]


def test_all_sources_together_go_on_where_a_source_has_nothing_more_to_say() -> None:
    both = judge(many=[[1.0]] * 99, few=[[2.0]] * 5)
    assert (both.item_p_value("many", 1.5).value, both.item_p_value("many", 1.5).judged_by) == (1 / 100, "many")
    # not more unusual than all of its own: they alone decide
    assert (both.item_p_value("few", 2.0).value, both.item_p_value("few", 2.0).judged_by) == (1.0, "few")
    # more unusual than its own five, which can tell no p below 1/6
    assert (both.item_p_value("few", 3.0).value, both.item_p_value("few", 3.0).judged_by) == (1 / 105, POOLED)
    p_values, judged_by = both.window_p_values("few", np.array([3.0, 2.0]))
    np.testing.assert_allclose(p_values, [1 / 105, 1.0])
    assert judged_by == [POOLED, "few"]
    assert both.item_p_value("never seen", 1.5).judged_by == POOLED
    assert both.item_p_value("never seen", 1.5).value == (1 + 5) / 105


def test_equal_items_are_told_apart_by_no_rounding_of_an_engine() -> None:
    """Most rows of a table are the same. Their scores differ by what else was in the batch."""
    rng = np.random.default_rng(4)
    scores = 0.3 * (1 + rng.uniform(-2e-7, 2e-7, 299))
    calibrated = judge(a=[[score] for score in scores[:199]])
    assert all(p_value(calibrated, "a", [score]) == 1 for score in scores[199:])
    p_values, _ = calibrated.window_p_values("a", scores[199:])
    assert (p_values == 1).all()


def test_short_recordings_are_compared_with_short_ones_only() -> None:
    mixed = judge(short={"a": [[50.0]] * 19}, a=[[1.0]] * 99)
    assert p_value(mixed, "a", [50.0], is_short=True) == 1.0
    assert p_value(mixed, "a", [60.0], is_short=True) == 1 / 20
    assert p_value(mixed, "a", [2.0]) == 1 / 100
    assert mixed.window_p_values("a", np.array([60.0]), is_short=True)[0] == 1 / 20


def test_a_kind_of_recordings_that_the_calibration_lacks_has_no_p_value() -> None:
    with pytest.raises(CalibrationError, match=r"the calibration has no recordings shorter than the model's window$"):
        judge(a=[[1.0]]).item_p_value("a", 1.0, is_short=True)
    with pytest.raises(
        CalibrationError, match=r"the calibration has only recordings that are shorter than the model's window$"
    ):
        judge(short={"a": [[1.0]]}).window_p_values("a", np.array([1.0]))


def test_recordings_of_each_kind_are_counted_over_all_sources() -> None:
    both = judge(short={"a": [[1.0]] * 2}, a=[[1.0]] * 3, b=[[1.0]] * 4)
    assert (both.count(), both.count(is_short=True)) == (7, 2)
    assert judge(a=[[1.0]]).count(is_short=True) == 0


def test_a_score_that_is_no_number_is_the_most_unusual() -> None:
    by_many = judge(a=[[1.0]] * 99)
    for odd in (np.nan, np.inf):
        assert p_value(by_many, "a", [odd]) == by_many.item_p_value("a", odd).value == 1 / 100
        assert by_many.window_p_values("a", np.array([odd]))[0][0] == 1 / 100


def test_an_alpha_that_cannot_be_supported_is_refused_with_one_that_can() -> None:
    with pytest.raises(CalibrationError, match=r"at least 99 normal items .* has 50; use alpha 0.02 or more"):
        require_alpha(calibration({"a": [[1.0]] * 50}), 0.01)
    for alpha in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(CalibrationError, match="not between 0 and 1"):
            recordings_needed(alpha)


@pytest.mark.parametrize("recordings", [1, 2, 7, 60, 98, 150, 240, 999, 1234])
def test_the_alpha_that_the_refusal_names_is_supported(recordings: int) -> None:
    few = calibration({"a": [[1.0]] * recordings})
    with pytest.raises(CalibrationError) as refusal:
        require_alpha(few, 1e-5)
    named = re.search(r"use alpha (\S+) or more", str(refusal.value))
    assert named is not None
    require_alpha(few, float(named[1]))
    assert float(named[1]) <= 1.1 / (recordings + 1)


@pytest.mark.parametrize("alpha", [1e-310, 5e-324])
@pytest.mark.parametrize("confidence", [None, 0.95])
def test_the_smallest_alphas_need_more_items_than_there_are(alpha: float, confidence: float | None) -> None:
    assert recordings_needed(alpha, confidence) >= 10**17


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.05, 19), (0.01, 99), (0.001, 999), (0.03, 33)])
def test_recordings_needed(alpha: float, needed: int) -> None:
    assert recordings_needed(alpha) == needed
    assert 1 / (needed + 1) <= alpha + 1e-12
    assert 1 / needed > alpha


def test_sources_that_cannot_support_alpha_alone_are_named_with_their_number() -> None:
    mixed = calibration({"few": [[1.0]] * 18, "enough": [[1.0]] * 19}, {"few": [[1.0]] * 20})
    heard = ["few", "enough", "never calibrated"]
    assert under_calibrated(mixed, heard, 0.05) == {"few": 18, "never calibrated": 0}
    assert under_calibrated(mixed, ["enough"], 0.05) == {}
    assert under_calibrated(mixed, heard, 0.05, is_short=True) == {"enough": 0, "never calibrated": 0}


def test_no_source_is_named_where_not_even_all_together_support_alpha() -> None:
    mixed = calibration({"a": [[1.0]] * 9, "b": [[1.0]] * 10})
    assert under_calibrated(mixed, ["a", "b"], 0.05) == {"a": 9, "b": 10}
    assert under_calibrated(mixed, ["a", "b"], 0.049) == {}
    assert under_calibrated(mixed, ["a", "b"], 0.05, is_short=True) == {}


def test_no_source_is_named_where_the_calibration_tells_none_apart() -> None:
    assert under_calibrated(calibration({"default": [[1.0]] * 99}), ["pump-1"], 0.05) == {}


def test_either_kind_of_recordings_may_support_an_alpha() -> None:
    for whole, short in (({"a": [[1.0]] * 19}, {"a": [[1.0]]}), ({"a": [[1.0]]}, {"a": [[1.0]] * 19})):
        require_alpha(calibration(whole, short), 0.05)
        with pytest.raises(CalibrationError) as refusal:
            require_alpha(calibration(whole, short), 0.049)
        assert str(refusal.value) == (
            "alpha 0.049 needs at least 20 normal items and the calibration of 'm' has 19; use alpha 0.05 or more, or ask "
            "the model's owner to calibrate it with more items"
        )


def test_the_refusal_of_an_alpha_names_the_one_that_each_source_keeps() -> None:
    with pytest.raises(
        CalibrationError, match=r"use alpha 0\.025 or more, .*; each source by itself keeps alpha from 0\.048 on$"
    ):
        require_alpha(calibration({"a": [[1.0]] * 20, "b": [[1.0]] * 20}), 0.01)


def test_windows_of_one_calibration_item_weigh_together_as_one_item() -> None:
    by_two = judge(a=[[1.0] * 9 + [5.0], [2.0]])
    np.testing.assert_allclose(by_two.window_p_values("a", np.array([4.0, 2.0, 0.5]))[0], [1.1 / 3, 2.1 / 3, 1.0])


def test_scores_count_as_equal_up_to_a_hundred_thousandth() -> None:
    calibrated = judge(a=[[1.0]] * 9)
    for score, p in ((1.0 + 0.9e-5, 1.0), (1.0 + 1.1e-5, 0.1)):
        assert calibrated.item_p_value("a", score).value == p
        assert calibrated.window_p_values("a", np.array([score]))[0] == [p]


def test_the_window_p_value_of_the_source_stands_where_all_together_say_no_less() -> None:
    both = judge(a=[[1.0]] * 3, b=[[9.0]] * 3)
    assert both.item_p_value("a", 2.0).judged_by == "a"
    p_values, judged_by = both.window_p_values("a", np.array([2.0, 10.0, 0.5]))
    np.testing.assert_allclose(p_values, [1 / 4, 1 / 7, 1.0])
    assert judged_by == ["a", POOLED, "a"]


def test_windows_of_a_source_that_was_never_calibrated_are_compared_with_all() -> None:
    p_values, judged_by = judge(a=[[1.0]] * 3).window_p_values("b", np.array([2.0, 0.5]))
    np.testing.assert_allclose(p_values, [1 / 4, 1.0])
    assert judged_by == [POOLED, POOLED]


def test_a_source_that_is_alone_gives_the_smallest_p_value_itself() -> None:
    assert judge(a=[[1.0]] * 3).item_p_value("a", 2.0) == PValue(1 / 4, "a")


@pytest.mark.parametrize("windows", [(6, 1), (1, 10, 1)])
def test_no_rounding_of_shares_makes_a_p_value_larger_than_1(windows: tuple[int, ...]) -> None:
    p_values, _ = judge(a=[[1.0] * count for count in windows]).window_p_values("a", np.array([0.5]))
    assert p_values.tolist() == [1.0]


def test_a_p_value_does_not_change() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        PValue(0.5, "a").value = 0.1  # type: ignore[misc]
