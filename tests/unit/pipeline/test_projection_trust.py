"""projection/trust.py and methods.py against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE, trustworthiness

from avizor_inference.principal_components import principal_components
from avizor_pipeline.projection.labels import Labels
from avizor_pipeline.projection.methods import tsne
from avizor_pipeline.projection.trust import trust_of


def test_trustworthiness_and_continuity_are_those_of_scikit_learn() -> None:
    points = np.random.default_rng(0).normal(size=(400, 9))
    places = points[:, :2]
    found = trust_of(points, places, np.arange(400), None, 0)
    assert found.k == 10
    assert found.trustworthiness == pytest.approx(trustworthiness(points, places, n_neighbors=10))
    assert found.continuity == pytest.approx(trustworthiness(places, points, n_neighbors=10))


def test_of_many_points_a_sample_is_ranked_among_all() -> None:
    points = np.random.default_rng(0).normal(size=(1500, 5))
    places = points[:, :2]
    found = trust_of(points, places, np.arange(1500), None, 0)
    assert found.points == 1000
    assert found.trustworthiness == pytest.approx(trustworthiness(points, places, n_neighbors=10), abs=0.01)


def test_a_map_that_changes_nothing_is_trusted_wholly() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    found = trust_of(points, points, np.arange(30), None, 0)
    assert (found.trustworthiness, found.continuity) == (1.0, 1.0)


def test_points_without_a_label_do_not_vote() -> None:
    points = np.concatenate([np.zeros((20, 2)), np.ones((20, 2)) * 9]) + np.random.default_rng(0).normal(size=(40, 2))
    codes = np.repeat([0, 1], 20)
    codes[::3] = -1
    found = trust_of(points, points[::-1].copy(), np.arange(40), Labels("truth", ("a", "b"), codes), 0).knn_accuracy
    assert found is not None
    assert (found.labelled, found.before) == (26, 1.0)
    assert found.most_frequent == pytest.approx(13 / 26)


def test_one_label_tells_nothing_apart() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    labels = Labels("truth", ("a",), np.zeros(30, np.int64))
    assert trust_of(points, points, np.arange(30), labels, 0).knn_accuracy is None


@pytest.mark.slow
def test_tsne_of_digits_is_as_trustworthy_as_that_of_scikit_learn() -> None:
    data = load_digits().data
    ours = tsne(principal_components(data, 50).place(data), 30.0, 0, 2)
    theirs = TSNE(perplexity=30.0, random_state=0).fit_transform(data)
    assert trustworthiness(data, ours, n_neighbors=10) >= trustworthiness(data, theirs, n_neighbors=10) - 0.01
