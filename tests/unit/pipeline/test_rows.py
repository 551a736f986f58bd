"""rows.py: the values of each row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.calibrations import calibration
from unit.pipeline.jobs import entry

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.errors import MediaError
from avizor_inference.items.kinds.base import Span
from avizor_inference.judged_rows import TableRow, score_columns, verdict_columns
from avizor_pipeline.models import open_models
from avizor_pipeline.request import JobRequest
from avizor_pipeline.rows import (
    class_columns,
    count_by_source,
    counted_labels,
    dead_letter,
    mean_class_columns,
    window_columns,
)
from avizor_pipeline.sinks.part_files import SourceCount

JUDGE = Judge(calibration({"a": tuple((float(score),) for score in range(1, 20))}))  # 19 items with scores 1 to 19


def test_a_window_has_its_place_in_samples_and_in_seconds(models: Path) -> None:
    (model,) = open_models(JobRequest(("data",), ("kinds",), models).to_settings())
    columns = window_columns(model, [entry("a/1.wav")] * 2, [Span(1, 4000, 4096), Span(0, 8000, 4096)])
    assert columns == {
        "uri": ["a/1.wav"] * 2, "source": ["a"] * 2, "channel": [1, 0], "start_sample": [4000, 8000],
        "end_sample": [8096, 12096], "start_s": [0.5, 1.0], "end_s": [1.012, 1.512], "model": ["kinds"] * 2,
        "model_version": [1] * 2,
    }  # fmt: skip


def test_a_classifier_names_its_best_class_and_the_three_best() -> None:
    columns = class_columns(["w", "x", "y", "z"], np.array([[0.25, 0.5, 0.0, 0.25], [0.0, 0.0, 1.0, 0.0]], np.float32))
    assert (columns["label"], columns["probability"]) == (["x", "y"], [0.5, 1.0])
    assert [[each["label"] for each in best] for best in columns["top_k"]] == [["x", "w", "z"], ["y", "w", "x"]]


def test_a_multi_label_model_names_all_classes_over_their_thresholds_too() -> None:
    probabilities, thresholds = np.array([[0.25, 0.75, 0.0, 0.5]], np.float32), [0.2, 0.8, 0.5, 0.5]
    columns = class_columns(["w", "x", "y", "z"], probabilities, thresholds)
    assert (columns["label"], columns["probability"]) == (["x"], [0.75])
    assert columns["labels"] == [[{"label": "z", "probability": 0.5}, {"label": "w", "probability": 0.25}]]
    assert "labels" not in class_columns(["w", "x", "y", "z"], probabilities)
    item = mean_class_columns(["w", "x", "y", "z"], probabilities[0], thresholds)
    assert counted_labels(item) == ["z", "w"]
    none = mean_class_columns(["w", "x", "y", "z"], probabilities[0], [1, 1, 1, 1])
    assert (none["labels"], counted_labels(none)) == ([], [])


def test_windows_have_p_values_only_if_the_calibration_supports_alpha() -> None:
    scores = np.array([30.0, 0.5], np.float32)
    judged = score_columns(scores, JUDGE, "a", 0.05, is_short=False)
    assert judged == {
        "score": [30.0, 0.5],
        "p_value": [pytest.approx(1 / 20), pytest.approx(1.0)],
        "is_anomaly": [True, False],
        "judged_by": ["a", "a"],
    }
    for columns in (
        score_columns(scores, None, "a", 0.05, is_short=False),
        score_columns(scores, JUDGE, "a", 0.04, is_short=False),  # needs 24 items
        score_columns(scores, JUDGE, "a", 0.05, is_short=True),  # the calibration has no short ones
    ):
        assert columns == {"score": [30.0, 0.5]}


def test_an_item_that_cannot_be_judged_says_why() -> None:
    item = ItemScore.of(np.array([30.0], np.float32))
    judged = verdict_columns(verdict(JUDGE, "a", item), 0.05)
    assert (judged["is_anomaly"], judged["judged_by"]) == (True, "a")
    short = verdict_columns(verdict(JUDGE, "a", item, is_short=True), 0.05)
    assert short.keys() == {"score", "not_judged"}
    assert "shorter than the model's window" in short["not_judged"]


def test_a_dead_letter_says_where_reading_failed() -> None:
    row = dead_letter(entry("a/1.wav"), MediaError("the file was cut off", offset=7))
    assert (row["uri"], row["offset"], row["stage"]) == ("a/1.wav", 7, "decode")
    assert (row["error_class"], row["message"]) == ("MediaError", "1.wav: the file was cut off")


def test_items_are_counted_by_source() -> None:
    rows: list[TableRow] = [
        {"uri": "1", "source": "b", "is_anomaly": True},
        {"uri": "2", "source": "a", "not_judged": "too few"},
        {"uri": "3", "source": "b", "is_anomaly": False},
    ]
    counts = count_by_source(rows, short={"2"})
    assert list(counts.items()) == [
        ("a", SourceCount(recordings=1, not_judged=1, short=1)),
        ("b", SourceCount(recordings=2, anomalies=1)),
    ]
