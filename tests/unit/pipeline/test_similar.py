"""projection/similar.py: the most similar items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unit.pipeline.embedded_jobs import clouds, embedded_job

from avizor_inference.errors import JobError, SettingsError
from avizor_pipeline.projection.similar import find_neighbours


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_the_nearest_of_all_items_over_all_parts(tmp_path: Path, metric: str) -> None:
    vectors, labels = clouds(50)
    out = embedded_job(tmp_path / "out", vectors, labels=labels, parts=5)
    found = find_neighbours(out, "sounds/0007.wav", 6, metric=metric)  # type: ignore[arg-type]
    points = vectors.astype(np.float64)
    if metric == "cosine":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        distances = 1 - points @ points[7]
    else:
        distances = np.linalg.norm(points - points[7], axis=1)
    expected = [place for place in np.argsort(distances) if place != 7][:6]
    assert [each.uri for each in found.neighbours] == [f"sounds/{place:04d}.wav" for place in expected]
    np.testing.assert_allclose([each.distance for each in found.neighbours], distances[expected], rtol=1e-6, atol=1e-9)
    assert [each.label for each in found.neighbours] == [labels[place] for place in expected]


def test_an_item_counts_by_its_nearest_window(tmp_path: Path) -> None:
    vectors = np.array([[0, 0], [9, 9], [8, 8], [0, 1], [5, 5], [6, 6], [0, 3], [7, 7]], np.float32)  # two windows each
    out = embedded_job(tmp_path / "out", vectors, windows=2, parts=1)
    found = find_neighbours(out, "sounds/0000.wav", 3, window=0)
    assert [(each.uri[-8:], each.start_s, each.distance) for each in found.neighbours] == [
        ("0001.wav", 1.0, 1.0),
        ("0003.wav", 0.0, 3.0),
        ("0002.wav", 0.0, pytest.approx(50**0.5)),
    ]
    at_once = find_neighbours(out, "sounds/0000.wav", 1)
    assert (at_once.windows, at_once.neighbours[0].uri) == (2, "sounds/0001.wav")
    by_time = find_neighbours(out, "sounds/0000.wav", 1, start_s=1.7)
    assert (by_time.neighbours[0].uri, by_time.neighbours[0].start_s) == ("sounds/0001.wav", 0.0)


def test_an_item_or_window_that_is_not_there_is_refused(tmp_path: Path) -> None:
    out = embedded_job(tmp_path / "out", clouds(10)[0])
    with pytest.raises(SettingsError, match=r"they name items like sounds/0000\.wav"):
        find_neighbours(out, "0001.wav", 3)
    with pytest.raises(SettingsError, match="has 1 window, from 0 to 0"):
        find_neighbours(out, "sounds/0001.wav", 3, window=1)


def test_an_embedding_that_is_not_finite_is_near_nothing(tmp_path: Path) -> None:
    vectors, _ = clouds(10)
    vectors[4] = np.nan
    out = embedded_job(tmp_path / "out", vectors)
    assert len(find_neighbours(out, "sounds/0001.wav", 20).neighbours) == 8
    with pytest.raises(JobError, match="not finite"):
        find_neighbours(out, "sounds/0004.wav", 3)
