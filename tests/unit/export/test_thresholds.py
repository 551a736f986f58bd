"""networks/thresholds.py: one number, or a file of one for each label."""

from __future__ import annotations

from pathlib import Path

import pytest

from avizor_export.networks.thresholds import Thresholds, read_thresholds, thresholds_of
from avizor_inference.errors import ExportError

LABELS = ["rain", "wind"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.txt", "0.25\n0.75\n", (0.25, 0.75)),
        ("t.json", "[0.25, 0.75]", (0.25, 0.75)),
        ("t.json", '{"wind": 0.75, "rain": 0.25}', (0.25, 0.75)),
        ("t.json", "0.25", (0.25, 0.25)),
        ("manifest.json", '{"labels": ["rain", "wind"], "thresholds": [0.25, 0.75]}', (0.25, 0.75)),
    ],
)
def test_a_file_holds_one_for_each_label(tmp_path: Path, name: str, text: str, expected: tuple[float, ...]) -> None:
    (tmp_path / name).write_text(text)
    assert thresholds_of(read_thresholds(str(tmp_path / name)), LABELS) == expected


def test_a_number_is_for_all_labels_and_none_is_a_half() -> None:
    assert thresholds_of(read_thresholds("0.3"), LABELS) == (0.3, 0.3)
    assert thresholds_of(None, LABELS) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.json", "{", "is not JSON"),
        ("t.txt", "a half", "is not a file of one number a line; a JSON file needs the suffix .json"),
        ("t.json", '{"rain": "often"}', "has to hold one number for all labels, a list"),
        ("t.json", "[true]", "has to hold one number"),
    ],
)
def test_a_file_that_holds_something_else(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ExportError, match=message):
        read_thresholds(str(tmp_path / name))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ExportError, match=r"half is not a number, and not a file that can be read \(No such file"):
        read_thresholds("half")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.5], "1 thresholds for 2 labels"),
        ({"rain": 0.5}, "'wind' have none"),
        ({"rain": 0.5, "wind": 0.5, "hail": 0.5}, "'hail' are not labels"),
        (0.0, "a threshold of 0; thresholds are probabilities over 0"),
        (1.01, "at most 1"),
        (float("nan"), "a threshold of nan"),
    ],
)
def test_thresholds_that_do_not_fit(given: Thresholds, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        thresholds_of(given, LABELS)
