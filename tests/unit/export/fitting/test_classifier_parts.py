"""fitting/classifier/parts.py: items that train, that end the training and that measure are other items."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avizor_export.fitting.classifier.parts import MOST_MEASURING, divide


@given(counts=st.lists(st.integers(2, 60), min_size=2, max_size=6), seed=st.integers(0, 5))
def test_no_item_is_in_two_parts_and_each_class_trains_and_measures(counts: list[int], seed: int) -> None:
    classes = np.repeat(np.arange(len(counts)), counts)
    parts = divide(classes, np.arange(len(classes)), seed)
    if max(counts) > 2:
        everything = np.concatenate([parts.training, parts.stopping, parts.measuring])
        assert sorted(everything.tolist()) == list(range(len(classes)))
    assert not set(parts.training) & set(parts.measuring)
    assert set(classes[parts.training]) == set(classes[parts.measuring]) == set(range(len(counts)))
    assert len(parts.stopping) > 0


def test_equal_items_stay_together() -> None:
    classes, groups = np.repeat([0, 1], 30), np.concatenate([np.arange(30) // 3, 100 + np.arange(30)])
    for seed in range(5):
        parts = divide(classes, groups, seed)
        sides = [set(groups[part]) for part in (parts.training, parts.stopping, parts.measuring)]
        assert all(not first & second for first, second in combinations(sides, 2))


def test_shares_are_those_of_each_class_and_large_folders_measure_no_more_than_they_need() -> None:
    classes = np.repeat([0, 1], [100, 1000])
    parts = divide(classes, np.arange(1100), 0)
    assert np.bincount(classes[parts.measuring]).tolist() == [20, 200]
    assert np.bincount(classes[parts.stopping]).tolist() == [10, 100]
    large = np.repeat([0, 1], 20_000)
    assert len(divide(large, np.arange(40_000), 0).measuring) == MOST_MEASURING


def test_the_seed_decides() -> None:
    classes = np.repeat([0, 1], 50)
    first, again, other = (divide(classes, np.arange(100), seed).measuring.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_items_that_are_known_train_and_do_not_measure() -> None:
    classes, groups = np.repeat([0, 1, 2], 20), np.arange(60)
    known = np.concatenate([np.arange(0, 20), np.arange(20, 39)])  # all of class 0, all but one of class 1
    parts = divide(classes, groups, 0, known)
    assert set(known) <= set(parts.training)
    assert np.bincount(classes[parts.measuring]).tolist() == [0, 1, 4]
    with pytest.raises(ValueError, match="all items have trained already"):
        divide(classes, groups, 0, groups)


def test_a_class_of_one_item_is_refused() -> None:
    with pytest.raises(ValueError, match="class 1 has one item"):
        divide(np.array([0, 0, 1]), np.arange(3), 0)
