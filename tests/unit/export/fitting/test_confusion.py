"""fitting/classifier/confusion.py: what held-out items were taken for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from avizor_export.fitting.classifier.confusion import MOST_IN_TABLE, MOST_PAIRS, Confusion
from avizor_inference.intervals import wilson


def test_figures_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    true = random.integers(0, 4, 300)
    predicted = np.where(random.random(300) < 0.7, true, random.integers(0, 4, 300))
    confusion = Confusion.of(list("abcd"), true, predicted)
    np.testing.assert_array_equal(confusion.counts, confusion_matrix(true, predicted))
    assert confusion.accuracy == accuracy_score(true, predicted)
    assert confusion.balanced_accuracy == pytest.approx(balanced_accuracy_score(true, predicted))
    assert confusion.interval == wilson(int((true == predicted).sum()), 300)
    assert confusion.items == 300


def test_what_is_told_names_the_most_frequent_mistakes() -> None:
    confusion = Confusion(["cat", "dog", "cow"], np.array([[7, 3, 0], [1, 9, 0], [0, 0, 10]]))
    assert list(confusion.lines()) == [
        "accuracy 0.8667 (0.7032 to 0.9469, 95 % interval) on 30 held-out items",
        "  3 of class 'cat' (30.0%) were taken for 'dog'",
        "  1 of class 'dog' (10.0%) was taken for 'cat'",
    ]
    figures = confusion.evaluation()
    assert figures["items taken for cat, dog, cow"] == {"cat": [7, 3, 0], "dog": [1, 9, 0], "cow": [0, 0, 10]}
    assert figures["recall and its 95 % interval"]["cow"] == [1.0, *wilson(10, 10)]  # type: ignore[call-overload, index]


def test_of_many_classes_the_table_is_left_out() -> None:
    classes = MOST_IN_TABLE + 1
    counts = np.full((classes, classes), 1)
    figures = Confusion([f"c{number}" for number in range(classes)], counts).evaluation()
    assert len(figures["most frequent confusions"]) == MOST_PAIRS  # type: ignore[arg-type]
    assert not any(name.startswith("items taken for") for name in figures)


def test_a_class_without_held_out_items_does_not_count() -> None:
    confusion = Confusion(["a", "b"], np.array([[3, 1], [0, 0]]))
    assert confusion.balanced_accuracy == 0.75
    assert list(confusion.evaluation()["recall and its 95 % interval"]) == ["a"]  # type: ignore[arg-type]


def test_balanced_accuracy_is_told_beside_accuracy_where_the_classes_are_not_equally_frequent() -> None:
    confusion = Confusion(["fine", "odd"], np.array([[97, 3], [5, 5]]))
    accuracy, balanced, *_ = confusion.lines()
    assert accuracy.startswith("accuracy 0.9273 ")
    low, high = confusion.balanced_interval
    assert balanced.startswith(f"  balanced accuracy 0.7350 ({low:.4f} to {high:.4f}): what equally many items of each class")
    assert confusion.evaluation()["balanced_accuracy, 95 % interval"] == [low, high]


@pytest.mark.parametrize(
    ("recalls", "items"), [((0.97, 0.5), (300, 12)), ((0.9, 0.8, 0.7), (5, 10, 200)), ((1.0, 0.6), (40, 4))]
)
def test_the_interval_of_the_balanced_accuracy_holds_the_true_one_as_often_as_it_says(
    recalls: tuple[float, ...], items: tuple[int, ...]
) -> None:
    random, held = np.random.default_rng(0), 0
    for _ in range(2000):
        found = random.binomial(items, recalls)
        counts = np.zeros((len(items), len(items)), np.int64)
        np.fill_diagonal(counts, found)
        counts[:, 0] += items - found
        counts[0] = [found[0], items[0] - found[0], *[0] * (len(items) - 2)]
        low, high = Confusion([str(place) for place in range(len(items))], counts).balanced_interval
        held += bool(low <= np.mean(recalls) <= high)
    assert held / 2000 > 0.93  # as each recall's, of five items


def test_of_one_class_the_interval_is_that_of_its_recall() -> None:
    assert Confusion(["a", "b"], np.array([[3, 1], [0, 0]])).balanced_interval == pytest.approx(wilson(3, 4))
