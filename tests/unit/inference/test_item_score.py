"""anomaly/item_score.py: the score of an item from the scores of its windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avizor_inference.anomaly.item_score import ItemScore, item_scores

# As models give them: float32, from nothing to overflow.
SCORES = st.lists(st.floats(0, 2.0**127, width=32, allow_subnormal=False), min_size=1, max_size=30)


def test_the_score_of_one_window_is_the_score_of_the_item() -> None:
    for score in (0.0, 1e-30, 0.1, 3e38):
        assert ItemScore.of(np.array([score])).value == pytest.approx(np.float32(score), rel=1e-7)


def test_the_power_mean_by_hand() -> None:
    for scores in (np.array([1.0, 2.0, 4.0]), np.array([0.25, 0.5, 1.0])):
        assert ItemScore.of(scores).value == pytest.approx(np.mean(scores**8) ** (1 / 8), rel=1e-6)


@given(SCORES)
def test_it_lies_between_the_mean_and_the_largest(scores: list[float]) -> None:
    values = np.array(scores)
    assert np.mean(values) * (1 - 1e-6) <= ItemScore.of(values).value <= np.float32(np.max(values)) * (1 + 1e-6)


@given(SCORES, st.data())
def test_parts_add_up_to_the_whole_wherever_a_file_is_cut(scores: list[float], data: st.DataObject) -> None:
    values, cut = np.array(scores), data.draw(st.integers(0, len(scores)))
    parts = ItemScore.of(values[:cut]) + ItemScore.of(values[cut:])
    whole = ItemScore.of(values)
    assert parts.windows == whole.windows
    assert parts.value == pytest.approx(whole.value, rel=1e-6)
    one_by_one = sum((ItemScore.of(values[[place]]) for place in range(len(values))), ItemScore())
    assert one_by_one.value == pytest.approx(whole.value, rel=1e-6)


def test_equal_windows_give_their_own_score_however_many_there_are() -> None:
    for count in (1, 3, 1000):
        assert ItemScore.of(np.full(count, 0.1, dtype=np.float32)).value == np.float32(0.1)


@pytest.mark.parametrize("odd", [np.inf, np.nan])
def test_a_window_without_a_finite_score_makes_the_item_infinite(odd: float) -> None:
    assert ItemScore.of(np.array([1.0, odd])).value == np.inf
    assert (ItemScore.of(np.array([odd])) + ItemScore.of(np.array([1.0]))).value == np.inf


def test_nothing_has_no_score() -> None:
    with pytest.raises(ValueError, match="without windows"):
        _ = ItemScore().value


def test_no_windows_are_the_nothing_that_parts_are_added_to() -> None:
    nothing, part = ItemScore(), ItemScore.of(np.array([0.25, 0.5]))
    assert ItemScore.of(np.array([])) == nothing == ItemScore(0, 0.0, 0.0)
    assert nothing + part == part + nothing == part


@pytest.mark.parametrize("score", [0.0, np.inf])
def test_windows_without_a_score_or_without_end_have_no_powers(score: float) -> None:
    one = ItemScore.of(np.array([score]))
    assert one == ItemScore(1, score, 0.0)
    assert one + one == ItemScore(2, score, 0.0)


def test_a_summary_does_not_change() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        ItemScore().windows = 1  # type: ignore[misc]


def test_each_of_some_items_has_its_own_score() -> None:
    assert item_scores([[3.0], [0.0, 0.0], [2.0, 2.0]]) == [3.0, 0.0, 2.0]
