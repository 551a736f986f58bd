"""precision/quality.py: accuracy and ROC AUC of held-out items, and how the items are read."""

from __future__ import annotations

import re
import tracemalloc
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from support.sounds import SAMPLE_RATE, SOUND, tone, write_wav

from avizor_export.data.held_out import read_held_out
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.precision.quality import chance_level, chance_warning, measure_quality, quality, roc_auc
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.items.data.item_files import sample_items
from avizor_inference.items.input_spec import ImageInput, NumberColumn, TableFrontEnd, TableInput, TensorInput
from avizor_inference.repository.manifest import Task

VECTOR = TensorInput(name="features", item_shape=(2,))
IMAGE = ImageInput(height=4, width=6, channels=1)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_auc_is_scikit_learns(ties: bool) -> None:
    rng = np.random.default_rng(0)
    anomalies = rng.random(300) < 0.2
    scores = rng.standard_normal(300) + anomalies
    scores = scores.round() if ties else scores
    assert roc_auc(scores, anomalies) == pytest.approx(roc_auc_score(anomalies, scores), abs=1e-12)


def test_what_chance_gives_is_what_random_answers_give() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.1).astype(np.int64)
    chance, margin = chance_level("reconstruct", labels)
    found = [roc_auc(rng.standard_normal(200), labels == 1) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(chance, abs=0.005)
    assert 2 * np.std(found) == pytest.approx(margin, rel=0.1)
    chance, margin = chance_level("classify", labels)
    found = [np.mean(rng.random(200) >= 1 - np.mean(labels == 0)) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(chance, abs=0.005)
    assert 2 * np.std(found) == pytest.approx(margin, rel=0.1)


HALF = np.array([0, 1] * 100)
RARE = np.array([0] * 190 + [1] * 10)
TEN = np.array([*range(10)] * 20)


@pytest.mark.parametrize(
    ("task", "reached", "labels", "says"),
    [
        ("reconstruct", 0.5, HALF, "is what chance gives"),
        ("reconstruct", 0.45, HALF, "is what chance gives"),
        ("reconstruct", 0.0116, HALF, "with the labels swapped it would be 0.9884; check which items"),
        ("reconstruct", 0.0116, RARE, "far below what chance gives"),
        ("reconstruct", 0.41, RARE, "is what chance gives"),
        ("classify", 0.5, HALF, "is what chance gives"),
        ("classify", 0.03, HALF, "is below what chance gives .* the labels are not in the order of the outputs"),
        ("classify", 0.0, TEN, "is below what chance gives .* put the lines of --labels into the order"),
        ("classify", 0.1, TEN, "is what chance gives"),
    ],
)
def test_far_below_chance_is_said_to_be_the_labels_and_near_it_to_be_chance(
    task: Task, reached: float, labels: np.ndarray, says: str
) -> None:
    said = chance_warning(task, reached, labels)
    assert said is not None
    assert re.search(says, said)


@pytest.mark.parametrize(("task", "reached", "labels"), [("reconstruct", 0.7, HALF), ("classify", 0.2, TEN)])
def test_nothing_is_said_of_what_is_better_than_chance(task: Task, reached: float, labels: np.ndarray) -> None:
    assert chance_warning(task, reached, labels) is None


def test_measured_in_batches() -> None:
    held_out = LabelledItems(np.arange(10, dtype=np.float32).reshape(10, 1), np.array([0] * 4 + [1] * 6))
    sizes = []

    def run(items: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(items))
        return {"probabilities": np.concatenate([items < 5, items >= 5], axis=1), "score": items}

    assert measure_quality(run, "classify", held_out, batch_size=4) == 0.9  # the item 4 is taken for class 0
    assert sizes == [4, 4, 2]
    assert measure_quality(run, "reconstruct", held_out) == 1.0


def test_scores_that_are_not_finite_are_no_quality() -> None:
    with pytest.raises(ExportError, match="score is not finite"):
        quality("reconstruct", np.array([[np.nan], [1.0]]), np.array([0, 1]))


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("classify", [0, 2], "labels of held-out items go from 0 to 2; allowed: 0 to 1"),
        ("classify", [0], "2 held-out items with 1 labels"),
        ("reconstruct", [1, 1], "needs some of both"),
    ],
)
def test_labels_that_do_not_fit(task: str, labels: list[int], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        LabelledItems(np.zeros((2, 2)), np.array(labels)).check(task, classes=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "classes", "wanted"),
    [
        (np.array(["b", "a"]), ["a", "b"], [1, 0]),
        (np.array([1, 0]), ["a", "b"], [1, 0]),
        (np.array(["a", "1"]), ["a", "b"], [0, 1]),
        (np.array(["2", "1"]), ["1", "2"], [1, 0]),  # classes whose names are numbers: by name, whatever the type
        (np.array([2, 1]), ["1", "2"], [1, 0]),
        (np.array([2, 1], np.uint8), ["1", "2"], [1, 0]),
        (np.array(["normal", "squeal"]), None, [0, 1]),
        (np.array(["Good", "ok", "crack", "0", "1"]), None, [0, 0, 1, 0, 1]),
        (np.array([False, True]), None, [0, 1]),
    ],
)
def test_arrays(tmp_path: Path, labels: np.ndarray, classes: list[str] | None, wanted: list[int]) -> None:
    np.savez(tmp_path / "held_out.npz", items=np.ones((len(labels), 2), np.float32), labels=labels)
    read = read_held_out(tmp_path / "held_out.npz", VECTOR, classes)
    assert read.labels.tolist() == wanted
    assert read.items.shape == (len(labels), 2)


@pytest.mark.parametrize("labels", [np.array(["0", "1"]), np.array([0, 1])])
def test_an_index_is_no_label_where_classes_are_named_by_numbers(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "held_out.npz", items=np.ones((2, 2), np.float32), labels=labels)
    with pytest.raises(ExportError, match="does not: '0'; with numbers for names of classes, labels have to be names"):
        read_held_out(tmp_path / "held_out.npz", VECTOR, ["1", "2"])


def test_only_one_kind_of_label_says_which_are_normal(tmp_path: Path) -> None:
    np.savez(tmp_path / "held_out.npz", items=np.ones((2, 2), np.float32), labels=np.array(["fine", "crack"]))
    with pytest.raises(ExportError, match=r"all anomalies.* labelled `normal`, `good`, `ok`, `0` and `false` are normal"):
        read_held_out(tmp_path / "held_out.npz", VECTOR, None).check("reconstruct", classes=0)


def test_a_label_beyond_every_integer_is_named_as_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "held_out.npz", items=np.ones((2, 2)), labels=np.array([0, 2**63], np.uint64))
    with pytest.raises(ExportError, match="9223372036854775808"):
        read_held_out(tmp_path / "held_out.npz", VECTOR, ["a", "b"])


def test_files_of_arrays_that_are_not(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"held_out\.npz does not exist"):
        read_held_out(tmp_path / "held_out.npz", VECTOR, None)
    with pytest.raises(DatasetError, match=r"items\.npy does not exist"):
        sample_items(tmp_path / "items.npy", VECTOR, 2)
    np.savez(tmp_path / "held_out.npz", items=np.ones((2, 2)))
    (tmp_path / "held_out.npz").rename(tmp_path / "items.npy")
    with pytest.raises(DatasetError, match="is a file of several arrays"):
        sample_items(tmp_path / "items.npy", VECTOR, 2)
    np.save(tmp_path / "one.npy", np.ones((2, 2)))
    (tmp_path / "one.npy").rename(tmp_path / "held_out.npz")
    with pytest.raises(DatasetError, match="is a file of one array"):
        read_held_out(tmp_path / "held_out.npz", VECTOR, None)


def test_a_text_of_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    spec = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="a"),)))
    labels = pa.array([b"ok", b"\xf8"]).view(pa.string())
    pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0], "label": labels}), tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match=r"rows\.parquet: .*UTF-?8"):
        read_held_out(tmp_path / "rows.parquet", spec, None)


def test_a_sample_of_a_large_file_reads_no_more_than_itself(tmp_path: Path) -> None:
    count = 2**16
    items = np.lib.format.open_memmap(tmp_path / "items.npy", mode="w+", dtype=np.float32, shape=(count, 2**10))
    items[-1] = 1
    tracemalloc.start()
    found = sample_items(tmp_path / "items.npy", TensorInput(name="features", item_shape=(2**10,)), 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[:, 0].tolist() == [0] * 7 + [1]
    assert peak < 2**20, "of a file of 256 MiB, none of which but its end lies on the disk"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"items": np.ones((2, 2)), "labels": np.array(["a", "c"])}, "labels that the model does not: 'c'"),
        ({"items": np.ones((2, 2)), "labels": np.array(["a", ""])}, "1 items have no label"),
        ({"items": np.ones((2, 2)), "labels": np.array([0.5, 1])}, "labels are float64"),
        ({"items": np.ones((2, 2))}, "has no array labels; it has items"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "held_out.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises((ExportError, DatasetError), match=message):
        read_held_out(tmp_path / "held_out.npz", VECTOR, ["a", "b"])


def test_a_folder_that_a_mac_wrote_is_the_class_that_a_keyboard_writes(tmp_path: Path) -> None:
    for name in ("vier", "fünf"):
        folder = tmp_path / unicodedata.normalize("NFD", name)
        folder.mkdir()
        Image.fromarray(np.full((4, 6), 10, np.uint8)).save(folder / "1.png")
    assert sorted(read_held_out(tmp_path, IMAGE, ["vier", "fünf"]).labels.tolist()) == [0, 1]


def test_folders_of_images_and_of_sounds(tmp_path: Path) -> None:
    for name, shade in (("dark", 10), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 6), shade, np.uint8)).save(tmp_path / "images" / name / "1.png")
    read = read_held_out(tmp_path / "images", IMAGE, ["light", "dark"])
    assert read.labels.tolist() == [1, 0]
    assert read.items[:, 0, 0, 0].tolist() == [10, 200]
    write_wav(tmp_path / "sounds" / "normal" / "a.wav", tone(3 * 4096 / SAMPLE_RATE))
    write_wav(tmp_path / "sounds" / "squeal" / "b.wav", tone(4096 / SAMPLE_RATE, hz=2000))
    read = read_held_out(tmp_path / "sounds", SOUND, None)
    assert read.labels.tolist() == [0, 0, 0, 1]  # one for each window
    with pytest.raises(ExportError, match="no sub-folders"):
        read_held_out(tmp_path / "sounds" / "normal", SOUND, None)


def test_a_sample_is_spread_over_all_that_is_there(tmp_path: Path) -> None:
    for number in range(20):
        write_wav(tmp_path / "sounds" / f"{number:02d}.wav", np.full(4096, number / 40, np.float32))
    items: Any = sample_items(tmp_path / "sounds", SOUND, 5)
    assert items.shape == (5, 4096)
    np.testing.assert_allclose(items[:, 0] * 40, [0, 5, 10, 14, 19], atol=0.01)
    np.save(tmp_path / "items.npy", np.arange(20, dtype=np.float32).reshape(10, 2))
    assert sample_items(tmp_path / "items.npy", VECTOR, 3)[:, 0].tolist() == [0, 8, 18]
    assert len(sample_items(tmp_path / "items.npy", VECTOR, 100)) == 10
