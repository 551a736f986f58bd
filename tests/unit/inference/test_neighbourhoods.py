"""neighbourhoods.py and principal_components.py against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from avizor_inference.neighbourhoods import knn_accuracy, nearest, of_unit_length, silhouette
from avizor_inference.principal_components import principal_components

_DIGITS = load_digits()
_POINTS, _LABELS = _DIGITS.data[:300].astype(np.float32), _DIGITS.target[:300].astype(np.int64)


def test_neighbours_are_those_of_scikit_learn() -> None:
    points = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)  # without ties
    expected = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(nearest(points, np.arange(300), 5), expected)


def test_neighbours_of_unit_vectors_are_those_by_cosine() -> None:
    points = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    found = NearestNeighbors(n_neighbors=6, metric="cosine").fit(points).kneighbors(points, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(nearest(of_unit_length(points), np.arange(300), 5), found)


def test_a_point_of_zeros_has_no_direction_and_stays() -> None:
    np.testing.assert_array_equal(of_unit_length(np.array([[0.0, 0.0], [3.0, 4.0]])), [[0, 0], [0.6, 0.8]])


def test_knn_accuracy_is_that_of_leaving_each_point_out() -> None:
    rows = np.arange(0, 300, 10)
    right = []
    for row in rows:
        others = np.delete(np.arange(300), row)
        classifier = KNeighborsClassifier(5).fit(_POINTS[others], _LABELS[others])
        right.append(classifier.predict(_POINTS[[row]])[0] == _LABELS[row])
    assert knn_accuracy(_POINTS, _LABELS, rows, 5) == pytest.approx(np.mean(right))


def test_the_silhouette_is_that_of_scikit_learn() -> None:
    assert silhouette(_POINTS, _LABELS) == pytest.approx(silhouette_score(_POINTS, _LABELS), abs=1e-6)
    single = np.where(np.arange(300) == 7, 99, _LABELS)  # a label of one point
    assert silhouette(_POINTS, single) == pytest.approx(silhouette_score(_POINTS, single), abs=1e-6)


def test_one_label_has_no_silhouette() -> None:
    assert silhouette(_POINTS, np.zeros(300, np.int64)) is None


@pytest.mark.parametrize("length", [300, 40])  # more points than numbers, and fewer
def test_components_are_those_of_scikit_learn(length: int) -> None:
    points = _POINTS[:length]
    ours, theirs = principal_components(points, 10), PCA(10, svd_solver="full").fit(points.astype(np.float64))
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_, rtol=1e-8)
    np.testing.assert_allclose(ours.variances / ours.total, theirs.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(np.abs(ours.directions), np.abs(theirs.components_), atol=1e-6)
    np.testing.assert_allclose(np.abs(ours.place(points)), np.abs(theirs.transform(points.astype(np.float64))), atol=1e-5)


def test_there_are_no_more_components_than_points_or_numbers() -> None:
    assert principal_components(_POINTS[:4], 10).directions.shape == (4, 64)
    assert principal_components(_POINTS[:, 20:23], 10).directions.shape == (3, 3)
