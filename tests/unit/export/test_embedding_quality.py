"""precision/embedding_quality.py: how well an embedding tells labels apart, beside principal components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.precision.embedding_quality import embedding_quality
from avizor_inference.arrays import Items

_DIGITS = load_digits()
_HELD_OUT = LabelledItems(_DIGITS.data[:300].astype(np.float32), _DIGITS.target[:300].astype(np.int64))


def _run(items: Items) -> dict[str, Items]:
    return {"embedding": items[:, 20:28], "probabilities": items}


def test_an_embedding_is_measured_beside_components_of_the_raw_items() -> None:
    found = embedding_quality(_run, _HELD_OUT)
    assert (found["items"], found["dimensions"], found["pca_dimensions"]) == (300, 8, 8)
    embedding, labels = _run(_HELD_OUT.items)["embedding"], _HELD_OUT.labels
    assert found["silhouette"] == pytest.approx(silhouette_score(embedding, labels), abs=1e-4)
    components = PCA(8, svd_solver="full").fit_transform(_HELD_OUT.items.astype(np.float64))
    assert found["pca_silhouette"] == pytest.approx(silhouette_score(components, labels), abs=1e-4)
    assert isinstance(found["knn_accuracy"], float)
    assert isinstance(found["pca_knn_accuracy"], float)
    assert found["knn_accuracy"] < found["pca_knn_accuracy"], "eight pixels say less than eight components"


def test_missing_values_of_a_row_are_the_mean_of_their_column() -> None:
    items = _HELD_OUT.items.copy()
    items[3, :] = np.nan
    found = embedding_quality(lambda batch: {"embedding": np.nan_to_num(batch)}, LabelledItems(items, _HELD_OUT.labels))
    assert isinstance(found["pca_knn_accuracy"], float)


def test_nothing_is_said_without_an_embedding_or_labels_that_differ() -> None:
    items, labels = _HELD_OUT.items, _HELD_OUT.labels
    assert embedding_quality(lambda batch: {"probabilities": batch}, _HELD_OUT) == {}
    assert embedding_quality(lambda batch: {"embedding": np.full_like(batch, np.nan)}, _HELD_OUT) == {}
    assert embedding_quality(_run, LabelledItems(items, np.zeros_like(labels))) == {}
    assert embedding_quality(_run, LabelledItems(items[:10], labels[:10])) == {}
    assert embedding_quality(_run, LabelledItems(items, np.eye(10, dtype=np.int64)[labels])) == {}
