import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.calibrations import Recordings, calibration

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.judge import Judge, recordings_needed, require_alpha
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import POOLED

ALPHAS = (0.5, 0.34, 0.25, 0.2, 0.1, 0.05)


def judge(*, short: dict[str, Recordings] | None = None, **sources: Recordings) -> Judge:
    return Judge(calibration(sources, short))


def p_value(of: Judge, source: str, scores: Sequence[float], *, is_short: bool = False) -> float:
    return of.item_p_value(source, ItemScore.of(np.array(scores)).value, is_short=is_short).value


def normal(rng: np.random.Generator, recordings: int, windows: Callable[[], int]) -> list[list[float]]:
    """Windows of one recording resemble each other: a level of its own, and a little noise."""
    return [np.exp(rng.normal() + 0.3 * rng.normal(size=windows())).tolist() for _ in range(recordings)]


def with_an_odd_end(recordings: list[list[float]], factor: float = 3.0) -> list[list[float]]:
    """A stop button, a fade: the last window of each is a little odd."""
    return [[*windows[:-1], factor * windows[-1]] for windows in recordings]


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


def false_alarms(recordings: list[list[float]], alpha: float) -> int:
    """How many of them are flagged, each in turn judged by all others."""
    flagged = 0
    for place, windows in enumerate(recordings):
        flagged += p_value(judge(a=[*recordings[:place], *recordings[place + 1 :]]), "a", windows) <= alpha
    return flagged


RECORDINGS = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 7.0]), min_size=1, max_size=6), min_size=2, max_size=24
)


@given(RECORDINGS, st.sampled_from(ALPHAS))
def test_no_recordings_are_found_that_break_the_promise(recordings: list[list[float]], alpha: float) -> None:
    """Exchangeable means that each of n + 1 recordings is as likely to be the new one: a share of alpha of them may be flagged.

    This holds without any chance, for recordings of any lengths, windows and ties.
    """
    assert false_alarms(recordings, alpha) <= alpha * len(recordings)


@given(RECORDINGS, st.sampled_from(ALPHAS))
def test_no_windows_are_found_that_break_the_promise(recordings: list[list[float]], alpha: float) -> None:
    """The same of windows: a window drawn from a recording that was drawn."""
    share = 0.0
    for place, windows in enumerate(recordings):
        others = judge(a=[*recordings[:place], *recordings[place + 1 :]])
        share += float(np.mean(others.window_p_values("a", np.array(windows))[0] <= alpha))
    assert share <= alpha * len(recordings) + 1e-9


@pytest.mark.parametrize("alpha", [0.1, 0.05])
@pytest.mark.parametrize(
    ("lengths", "change"),
    [
        ((3, 3), list),
        ((2, 6), list),
        ((2, 6), with_an_odd_end),
        ((2, 6), lambda recordings: [each[::-1] for each in with_an_odd_end(recordings)]),
        ((1, 1), list),
        ((1, 400), with_an_odd_end),
    ],
    ids=["equal lengths", "different lengths", "odd ends", "odd beginnings", "one window", "hundreds of windows"],
)
def test_false_alarms_stay_at_alpha_whatever_the_lengths(
    alpha: float, lengths: tuple[int, int], change: Callable[[list[list[float]]], list[list[float]]]
) -> None:
    """Over 200 calibrations of 60 recordings, 10 new ones each; the bound is three standard errors."""
    rng, rates = np.random.default_rng(1), []
    for _ in range(200):
        recordings = change(normal(rng, 70, lambda: int(rng.integers(lengths[0], lengths[1] + 1))))
        by_sixty = judge(a=recordings[:60])
        rates.append(np.mean([p_value(by_sixty, "a", each) <= alpha for each in recordings[60:]]))
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= alpha + 3 * error
    assert np.mean(rates) >= alpha / 2  # the promise is used, not only kept


def test_p_values_of_normal_recordings_are_uniform() -> None:
    rng = np.random.default_rng(2)
    values = []
    for _ in range(1000):
        recordings = normal(rng, 100, lambda: int(rng.integers(1, 6)))
        values.append(p_value(judge(a=recordings[:99]), "a", recordings[99]))
    for level in (0.1, 0.3, 0.5, 0.9):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=0.05)


def test_one_odd_window_is_found_in_a_long_recording_and_in_a_short_one_beside_long_ones() -> None:
    """Not the mean, which five hundred windows drown, and not the largest, which grows with the length."""
    rng = np.random.default_rng(3)
    for windows, least in ((1, 0.9), (5, 0.9), (50, 0.7), (500, 0.5)):
        found = 0
        for _ in range(60):
            mixed = judge(a=normal(rng, 99, lambda: int(rng.choice([1, 5, 50, 500]))))
            odd = normal(rng, 1, windows.__int__)[0]
            odd[len(odd) // 2] = 30.0
            found += p_value(mixed, "a", odd) <= 0.05
        assert found / 60 >= least, windows


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), RECORDINGS, min_size=1),
    st.sampled_from(["a", "b", "never seen"]),
    st.lists(st.floats(0, 8), min_size=1, max_size=5),
)
def test_a_smaller_alpha_never_flags_more(sources: dict[str, Recordings], source: str, windows: list[float]) -> None:
    item, by_sources = ItemScore.of(np.array(windows)), judge(short=None, **sources)
    flagged = [bool(verdict(by_sources, source, item).is_anomaly(alpha)) for alpha in sorted(ALPHAS)]
    assert all(larger or not smaller for smaller, larger in pairwise(flagged))


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


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), RECORDINGS, min_size=1), st.sampled_from(ALPHAS))
def test_each_source_keeps_its_bound_beside_others(sources: dict[str, list[list[float]]], alpha: float) -> None:
    """Each of a source's n + 1 recordings in turn is the new one: at most max(alpha, 1 / (n + 1)) of them may be flagged."""
    for source, recordings in sources.items():
        flagged = 0
        for place, windows in enumerate(recordings):
            others = {**sources, source: [*recordings[:place], *recordings[place + 1 :]]}
            flagged += p_value(judge(short=None, **others), source, windows) <= alpha
        assert flagged <= max(alpha * len(recordings), 1)


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
    with pytest.raises(CalibrationError, match=r"the calibration has no recordings at least as long as the model's window$"):
        judge(short={"a": [[1.0]]}).window_p_values("a", np.array([1.0]))


def test_recordings_of_each_kind_are_counted_over_all_sources() -> None:
    both = judge(short={"a": [[1.0]] * 2}, a=[[1.0]] * 3, b=[[1.0]] * 4)
    assert (both.count(), both.count(is_short=True)) == (7, 2)
    assert judge(a=[[1.0]]).count(is_short=True) == 0


def test_a_score_that_is_no_number_is_the_most_unusual() -> None:
    by_many = judge(a=[[1.0]] * 99)
    for odd in (np.nan, np.inf):
        assert p_value(by_many, "a", [odd]) == 1 / 100
        assert by_many.window_p_values("a", np.array([odd]))[0][0] == 1 / 100


def test_an_alpha_that_cannot_be_supported_is_refused_with_one_that_can() -> None:
    with pytest.raises(CalibrationError, match=r"at least 99 normal recordings .* has 50; use alpha 0.02 or more"):
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


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.05, 19), (0.01, 99), (0.001, 999), (0.03, 33)])
def test_recordings_needed(alpha: float, needed: int) -> None:
    assert recordings_needed(alpha) == needed
    assert 1 / (needed + 1) <= alpha + 1e-12
    assert 1 / needed > alpha
