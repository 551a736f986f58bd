"""data/metrics_files.py: JSON files of `--evaluation` and `--training`."""

from __future__ import annotations

from pathlib import Path

import pytest

from avizor_export.data.metrics_files import read_evaluation, read_training
from avizor_inference.errors import ExportError


def test_figures_are_read(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text('{"accuracy": 0.5, "by_class": {"a": [1, null, "x"]}}')
    assert read_evaluation(path) == {"accuracy": 0.5, "by_class": {"a": [1, None, "x"]}}
    path.write_text('{"loss": [2, 1.5]}')
    assert read_training(path) == {"loss": [2.0, 1.5]}


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "JSON object of metrics"),
        ("{", "JSON object of metrics"),
        ('{"a": NaN}', "finite"),
        ('{"a": ' + "[" * 50_000 + "]" * 50_000 + "}", "JSON object of metrics"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "JSON object of metrics"),
    ],
)
def test_an_evaluation_that_no_manifest_holds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "figures.json").write_text(text)
    with pytest.raises(ExportError, match=message):
        read_evaluation(tmp_path / "figures.json")


@pytest.mark.parametrize("text", ['{"loss": []}', '{"loss": 1}', '{"loss": [NaN]}', '{"loss": ["a"]}'])
def test_training_that_no_plot_shows_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(ExportError, match=r"lists of numbers, one for each epoch: loss"):
        read_training(tmp_path / "training.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"nowhere\.json: cannot be read \(No such file"):
        read_evaluation(tmp_path / "nowhere.json")
