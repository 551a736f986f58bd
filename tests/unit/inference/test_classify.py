"""classify.py: the classes of an item from the probabilities of its windows."""

from __future__ import annotations

import numpy as np
import pytest

from avizor_inference.classify import MeanProbabilities, present_classes, top_k

LABELS = ("a", "b", "c")


def test_the_best_classes_come_first_and_of_equal_ones_the_first() -> None:
    best = top_k(np.array([0.2, 0.4, 0.4], np.float32), LABELS, 2)
    assert [each.label for each in best] == ["b", "c"]
    assert best[0].probability == pytest.approx(0.4)


def test_more_classes_than_there_are_gives_all() -> None:
    assert [each.label for each in top_k(np.array([0.2, 0.5, 0.3]), LABELS, 9)] == ["b", "c", "a"]


def test_parts_of_an_item_add_up_to_the_mean_over_all_of_its_windows() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 101).astype(np.float32)
    total = MeanProbabilities()
    for start, end in ((0, 1), (1, 40), (40, 101)):
        total += MeanProbabilities.of(rows[start:end])
    assert total.windows == 101
    np.testing.assert_allclose(total.value, rows.astype(np.float64).mean(axis=0), rtol=1e-12)


def test_an_item_without_windows_has_no_class() -> None:
    with pytest.raises(ValueError, match="without windows"):
        _ = MeanProbabilities().value


def test_a_class_is_present_from_its_threshold_on_and_the_most_probable_come_first() -> None:
    probabilities = np.array([0.7, 0.9, 0.2], np.float32)
    best = present_classes(probabilities, LABELS, [0.7, 0.5, 0.3])  # float32 0.7 is a little under float64 0.7
    assert [each.label for each in best] == ["b", "a"]
    assert present_classes(probabilities, LABELS, [0.8, 0.95, 0.3]) == []


def test_the_best_classes_say_whether_they_are_over_their_thresholds() -> None:
    probabilities = np.array([0.2, 0.5, 0.3])
    assert [each.is_over_threshold for each in top_k(probabilities, LABELS, 3, [0.2, 0.6, 0.3])] == [False, True, True]
    assert [each.is_over_threshold for each in top_k(probabilities, LABELS, 3)] == [False, False, False]
