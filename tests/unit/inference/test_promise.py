"""anomaly/p_values.py keeps its promise, for any recordings that hypothesis finds, and in a simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.calibrations import Recordings, calibration

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import verdict

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


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), RECORDINGS, min_size=1), st.sampled_from(ALPHAS))
def test_each_source_keeps_its_bound_beside_others(sources: dict[str, list[list[float]]], alpha: float) -> None:
    """Each of a source's n + 1 recordings in turn is the new one: at most max(alpha, 1 / (n + 1)) of them may be flagged."""
    for source, recordings in sources.items():
        flagged = 0
        for place, windows in enumerate(recordings):
            others = {**sources, source: [*recordings[:place], *recordings[place + 1 :]]}
            flagged += p_value(judge(short=None, **others), source, windows) <= alpha
        assert flagged <= max(alpha * len(recordings), 1)
