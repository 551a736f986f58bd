"""fitting/classifier/labelled.py and choose.py: which folders of classes are read, and what is said of those that are not."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.labelled_folders import write_pictures, write_sounds

from avizor_export.fitting.classifier import labelled
from avizor_export.fitting.classifier.labelled import Labelled, read_labelled
from avizor_export.fitting.classifier.plan import AskedClassifier, plan_classifier
from avizor_export.fitting.folder import Where
from avizor_export.fitting.look import list_items
from avizor_inference.errors import DatasetError
from avizor_inference.items.dataset import Columns
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.audio import AudioInput
from avizor_inference.items.kinds.image import ImageInput
from avizor_inference.items.kinds.sound_front_ends import WaveformFrontEnd
from avizor_inference.items.source_rule import SourceRule

PICTURE = ImageInput(height=16, width=16, channels=1)


def read(folder: Path, spec: InputSpec = PICTURE, pattern: str = "") -> Labelled:
    return read_labelled(list_items(Where(folder, SourceRule(pattern)), spec.modality), spec)


def add_text(path: Path) -> None:
    path.write_text("no picture")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", {"bars": 30, "plain": 20})


def test_sub_folders_are_the_classes(pictures: Path) -> None:
    data = read(pictures)
    assert data.labels == ("bars", "plain")
    assert data.counts == {"bars": 30, "plain": 20}
    rows, classes, items = data.of(np.array([31, 0]))
    assert rows.shape == (2, 16, 16, 1)
    assert classes[items == 0].tolist() == [1]
    assert classes[items == 1].tolist() == [0]


def test_a_pattern_tells_the_classes_of_names(pictures: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in pictures.rglob("*.png"):
        shutil.copy(path, flat / f"{path.parent.name}_{path.name}")
    assert read(flat, pattern="^([a-z]+)_").counts == {"bars": 30, "plain": 20}


def test_windows_of_a_recording_have_its_class_and_number(tmp_path: Path) -> None:
    sound = AudioInput(sample_rate=4000, window_samples=800, hop_samples=400, front_end=WaveformFrontEnd())
    data = read(write_sounds(tmp_path, 4), sound)
    assert data.labels == ("high", "low", "mid")
    assert len(data.rows) > len(data.classes) == 12
    _, classes, recordings = data.of(np.array([0, 5, 11]))
    assert sorted({*zip(recordings.tolist(), classes.tolist(), strict=True)}) == [(0, 0), (1, 1), (2, 2)]


def test_of_a_long_recording_a_few_windows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MOST_WINDOWS", 2)
    sound = AudioInput(sample_rate=4000, window_samples=400, hop_samples=100, front_end=WaveformFrontEnd())
    assert np.bincount(read(write_sounds(tmp_path, 2), sound).recordings).tolist() == [2] * 6


def test_of_a_folder_larger_than_memory_a_choice_is_read(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(labelled, "MOST_BYTES", 10 * 256)
    monkeypatch.setattr(labelled, "_LEAST_OF_A_CLASS", 3)
    data = read(pictures)
    assert sum(data.counts.values()) == 10
    assert min(data.counts.values()) >= 3
    assert "10 of 50 items are used: all would be more than" in caplog.text


def test_a_few_unreadable_items_are_named_and_left_out(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        add_text(pictures / "bars" / f"broken-{number}.png")
    assert read(pictures).counts == {"bars": 30, "plain": 20}
    assert "2 of the items cannot be read, and are left out" in caplog.text
    assert "broken-0.png" in caplog.text


def test_many_unreadable_items_are_refused(pictures: Path) -> None:
    for number in range(10):
        add_text(pictures / "bars" / f"broken-{number}.png")
    with pytest.raises(DatasetError, match=r"broken-0\.png.*fix or remove them"):
        read(pictures)
    with pytest.raises(DatasetError, match=r"10 of 60 items that were looked at cannot be read: .*broken-0\.png"):
        plan_classifier(Where(pictures), AskedClassifier())


def test_equal_items_are_one_group(pictures: Path) -> None:
    for number in range(5):
        shutil.copy(pictures / "bars" / "0-0.png", pictures / "bars" / f"copy-{number}.png")
    assert np.unique(read(pictures).groups, return_counts=True)[1].max() == 6


def test_items_that_are_in_two_classes_are_left_out(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(pictures / "bars" / "0-0.png", pictures / "plain" / "copy.png")
    assert read(pictures).counts == {"bars": 29, "plain": 20}
    assert "2 items are equal to one of another class, and are left out" in caplog.text


def test_files_beside_the_folders_of_classes_are_left_out(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    shutil.copy(pictures / "bars" / "0-0.png", pictures / "overview.png")
    assert read(pictures).counts == {"bars": 30, "plain": 20}
    assert "1 items are in no folder of a class, and are left out" in caplog.text
    assert "overview.png" in caplog.text


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"bars": 30}, r"one class, 'bars', and a classifier tells at least two apart.*leave out --labels"),
        ({"bars": 30, "plain": 1}, "class 'plain' has one item: one has to train and another one to measure"),
        ({"train": 20, "test": 20}, "test and train are parts of a data set, and no classes"),
        ({f"item{number}": 1 for number in range(40)}, "40 classes for 40 items; folders or names that belong to one item"),
    ],
    ids=["one class", "a class of one item", "parts", "a folder for each item"],
)
def test_what_no_classifier_can_learn_from_is_refused(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(write_pictures(tmp_path, counts))


def test_a_folder_without_classes_is_refused(pictures: Path) -> None:
    with pytest.raises(DatasetError, match="none of them has a class; with --labels each item needs a class: put the items"):
        plan_classifier(Where(pictures / "bars"), AskedClassifier())


def test_a_class_whose_items_are_all_equal_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"bars": 20})
    (tmp_path / "blank").mkdir()
    for number in range(20):
        Image.new("L", (16, 16), 128).save(tmp_path / "blank" / f"{number}.png")
    with pytest.raises(DatasetError, match="class 'blank' has 20 items that are all equal"):
        read(tmp_path)


def test_two_kinds_of_files_are_refused(pictures: Path) -> None:
    write_sounds(pictures, 10)
    with pytest.raises(DatasetError, match="holds files of several kinds, 50 of images and 30 of sound"):
        plan_classifier(Where(pictures), AskedClassifier())


def test_hundreds_of_classes_are_allowed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(200):
        (tmp_path / f"c{number:03d}").mkdir()
        for item in range(2):
            pixels = random.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"c{number:03d}" / f"{item}.png")
    plan = plan_classifier(Where(tmp_path), AskedClassifier())
    assert "200 classes (c000 2, " in plan.choices[0].reason
    assert len(read(tmp_path, ImageInput(height=8, width=8, channels=1)).labels) == 200


def table(path: Path, label: str = "label") -> Path:
    random = np.random.default_rng(0)
    rows = [f"{random.normal():.3f},{random.normal():.3f},{'yes' if number % 3 else 'no'}" for number in range(60)]
    path.write_text("\n".join([f"x,y,{label}", *rows]))
    return path


def test_the_label_column_of_a_table_is_its_classes_and_no_input(tmp_path: Path) -> None:
    plan = plan_classifier(Where(table(tmp_path / "rows.csv")), AskedClassifier())
    assert plan.input.column_names() == ("x", "y")
    assert read_labelled(plan.items, plan.input).counts == {"no": 20, "yes": 40}
    named = Where(table(tmp_path / "named.csv", "verdict"), columns=Columns(source="verdict"))
    assert plan_classifier(named, AskedClassifier()).input.column_names() == ("x", "y")


def test_a_table_without_a_label_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no column is named like a label: x, y, verdict; say which column has the classes"):
        plan_classifier(Where(table(tmp_path / "rows.csv", "verdict")), AskedClassifier())
