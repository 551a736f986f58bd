"""precision/quality.py: the metrics of a multi-label classifier, how its labels are read, and that int8 is guarded by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from avizor_export.data.held_out import read_held_out
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.exporter import export_model
from avizor_export.precision.quality import (
    chance_level,
    chance_warning,
    macro_f1,
    mean_average_precision,
    measure_quality,
    metric_of,
)
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_version
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput

SPEC = TensorInput(name="x", item_shape=(4,))
LABELS = ["rain", "wind", "hail"]


@pytest.mark.parametrize("ties", [False, True])
def test_the_metrics_are_scikit_learns(ties: bool) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 3)) < (0.5, 0.2, 0.05)).astype(np.int64)
    probabilities = np.clip(rng.random((300, 3)) * 0.7 + 0.3 * labels, 0, 1)
    probabilities = probabilities.round(1) if ties else probabilities
    expected = average_precision_score(labels, probabilities, average="macro")
    assert mean_average_precision(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    thresholds = (0.5, 0.4, 0.6)
    answers = probabilities.astype(np.float32) >= np.array(thresholds, np.float32)
    assert macro_f1(probabilities, labels, thresholds) == pytest.approx(f1_score(labels, answers, average="macro"), abs=1e-12)


def test_a_class_that_no_item_has_is_left_out() -> None:
    labels, probabilities = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.9], [0.1, 0.8]])
    assert mean_average_precision(probabilities, labels) == 1
    assert macro_f1(probabilities, labels, (0.5, 0.5)) == 1


def test_random_answers_are_no_better_than_chance() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((500, 3)) < 0.2).astype(np.int64)
    chance, margin = chance_level("classify", labels)
    found = [mean_average_precision(rng.random((500, 3)), labels) for _ in range(200)]
    assert np.mean(found) == pytest.approx(chance, abs=0.02)
    assert 2 * np.std(found) == pytest.approx(margin, rel=0.5)
    said = chance_warning("classify", chance, labels)
    assert said is not None
    assert "mean_average_precision" in said
    assert "by random probabilities" in said
    assert chance_warning("classify", 0.9, labels) is None


def test_the_metric_follows_from_how_items_are_labelled() -> None:
    assert metric_of("classify", np.zeros(3, np.int64)) == "accuracy"
    assert metric_of("classify", np.zeros((3, 2), np.int64)) == "mean_average_precision"
    items = LabelledItems(np.zeros((2, 1), np.float32), np.array([[1, 0], [0, 1]]))
    assert measure_quality(lambda batch: {"probabilities": np.eye(2)}, "classify", items) == 1


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8])
def test_a_matrix_of_labels_is_read(tmp_path: Path, dtype: Any) -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]], dtype)
    np.savez(tmp_path / "rows.npz", items=np.zeros((2, 4), np.float32), labels=labels)
    held_out = read_held_out(tmp_path / "rows.npz", SPEC, LABELS)
    np.testing.assert_array_equal(held_out.labels, labels)
    held_out.check("classify", 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 2, 0]]), "values from 0 to 2; a matrix of labels has a column for each of the 3 classes"),
        (np.array([[0, 1]]), r"are \[1, 2\] with"),
        (np.zeros((1, 3), np.int64), "and some 1"),
        (np.eye(3, dtype=np.int64), "1 held-out items with 3 labels"),
    ],
)
def test_a_matrix_that_does_not_fit(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        LabelledItems(np.zeros((1, 4), np.float32), labels).check("classify", 3)


def test_a_matrix_of_fractions_or_for_an_autoencoder_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", items=np.zeros((1, 4), np.float32), labels=np.array([[0.5, 1, 0]]))
    with pytest.raises(ExportError, match=r"labels are float64\[1, 3\]; .*a whole number 0 or 1 for each item and class"):
        read_held_out(tmp_path / "rows.npz", SPEC, LABELS)
    with pytest.raises(ExportError, match="an autoencoder's are one for each item"):
        LabelledItems(np.zeros((1, 4), np.float32), np.eye(2, dtype=np.int64)[:1]).check("reconstruct", 0)


class Tagger(nn.Module):
    """Right on all of `held_out`: a class is present where its number is over 0."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            self.last.weight.copy_(4 * torch.eye(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(x)
        return logits


def test_int8_is_guarded_by_the_mean_average_precision(tmp_path: Path) -> None:
    items = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32)
    held_out = LabelledItems(items, (items[:, :3] > 0).astype(np.int64))
    request = ExportRequest(
        "m", "classify", SPEC, labels=LABELS, activation="sigmoid", real_items=items, held_out=held_out, precision="int8"
    )
    version = export_model(Tagger(), request, tmp_path)
    variant = version.manifest.variant
    assert variant is not None
    assert (variant.metric, variant.before) == ("mean_average_precision", 1)
    assert variant.drop <= 0.01
    assert version.manifest.evaluation["macro_f1"] == pytest.approx(1, abs=0.05)
    assert "mean average precision went from 1.0000" in (version.folder / "card.md").read_text()
    assert check_version(version) == []
