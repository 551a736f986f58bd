"""data/item_files.py and held_out.py.

Folders of calibration and held-out data, read by the rule that batch jobs have; what is left out or clipped is told.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from support.packed import png, write_column, write_tar
from support.sounds import SAMPLE_RATE, SOUND, tone, write_wav

from avizor_export.data.held_out import read_held_out
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.items.data.item_files import read_recordings, sample_items
from avizor_inference.items.dataset import Columns
from avizor_inference.items.images import decode_image
from avizor_inference.items.input_spec import ImageInput, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.source_rule import SourceRule

PIXELS = ImageInput(height=8, width=8, channels=3)


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:03}.png")


def sources(folder: Path) -> list[str]:
    return [recording.source for recording in read_recordings(folder, PIXELS, SourceRule())]


def test_a_source_pattern_that_matches_nothing_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path / "cal" / "line1", 3)
    with pytest.raises(DatasetError, match=r"--source-pattern 'xx.*' matches none of the paths of its 3 files"):
        list(read_recordings(tmp_path / "cal", PIXELS, SourceRule("xx(.)")))
    pictures(tmp_path / "cal" / "other", 2)
    sources = [recording.source for recording in read_recordings(tmp_path / "cal", PIXELS, SourceRule("line(.)"))]
    assert sources == ["1"] * 3 + ["default"] * 2
    assert "2 files do not match --source-pattern" in caplog.text


def test_hidden_images_are_no_items_and_linked_folders_are_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path / "cal" / "line1", 3)
    pictures(tmp_path / "cal" / ".Trash-0", 2)
    pictures(tmp_path / "elsewhere", 2)
    pictures(tmp_path / "cal" / "line1" / "odd.png", 1)
    (tmp_path / "cal" / "line2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cal" / "line1" / "._000.png").write_bytes(b"\0\5\26\7x")
    (tmp_path / "cal" / "line1" / "note.psd").touch()
    (tmp_path / "cal" / "line2" / "loop").symlink_to(tmp_path / "cal")
    assert sources(tmp_path / "cal") == ["line1"] * 4 + ["line2"] * 2
    assert f"{tmp_path}/cal: left out 2 hidden, 1 .psd" in caplog.text
    assert len(sample_items(tmp_path / "cal", PIXELS, 100)) == 6


def test_hidden_folders_are_no_classes_and_what_lies_beside_the_classes_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path / "good", 3)
    pictures(tmp_path / "bad", 2)
    pictures(tmp_path / ".ipynb_checkpoints", 5)
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    (tmp_path / "good" / "Thumbs.db").touch()
    items = read_held_out(tmp_path, PIXELS, None)
    assert items.labels.tolist() == [1, 1, 0, 0, 0]
    (warning,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert warning == f"{tmp_path}: left out 1 .db, 1 .png, 1 hidden"


def test_a_pipe_in_a_calibration_folder_is_named_and_not_waited_for(tmp_path: Path) -> None:
    pictures(tmp_path / "cal", 1)
    os.mkfifo(tmp_path / "cal" / "pipe.png")
    with pytest.raises(DatasetError, match=r"pipe\.png: not a file but a pipe"):
        sources(tmp_path / "cal")


def test_recordings_beyond_full_scale_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", tone(1.0, seed=number) * 8, SAMPLE_RATE, subtype="FLOAT")
    write_wav(tmp_path / "quiet.wav", tone(1.0))
    list(read_recordings(tmp_path, SOUND, SourceRule()))
    (warning,) = (record.message for record in caplog.records)
    share = np.mean(np.abs(tone(1.0, seed=0) * 8) > 1)
    assert f"are clipped to -1..1 in {tmp_path}/0.wav ({share:.2%} of its samples), " in warning
    assert "and 2 more; scale such files to -1..1" in warning
    assert "quiet" not in warning


def test_sources_with_names_that_are_not_utf_8(tmp_path: Path) -> None:
    pictures(tmp_path / os.fsdecode(b"caf\xe9"), 1)
    assert sources(tmp_path) == ["bytes:caf%E9"]
    with pytest.raises(ExportError, match="bytes:caf%E9"):
        read_held_out(tmp_path, PIXELS, ["good", "bad"])


def test_pictures_of_every_size_are_resized_alike_for_parity_calibration_and_held_out_data(tmp_path: Path) -> None:
    """As the gateway resizes them; what is in the graph (order, layout, range) leaves the items as they are."""
    rng = np.random.default_rng(0)
    for number, size in enumerate([(20, 30), (31, 17), (9, 9)]):
        path = tmp_path / "data" / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
    fields = {"channels": 3, "resize": 12, "crop": 8, "front_end": {"order": "bgr", "layout": "nhwc", "range": "0..255"}}
    spec = ImageInput.model_validate(fields)
    files = sorted((tmp_path / "data" / "good").iterdir())
    expected = np.stack([decode_image(path.read_bytes(), spec) for path in files])
    np.testing.assert_array_equal(sample_items(tmp_path / "data", spec, 9), expected)
    calibration = [recording.windows for recording in read_recordings(tmp_path / "data", spec, SourceRule())]
    np.testing.assert_array_equal(np.concatenate(calibration), expected)
    np.testing.assert_array_equal(read_held_out(tmp_path / "data", spec, None).items, expected)


def test_a_pattern_a_list_and_a_tar_hold_the_items_of_the_folder(tmp_path: Path) -> None:
    for source in ("a", "b"):
        pictures(tmp_path / "cal" / source, 2)
    folder = tmp_path / "cal"
    files = sorted(folder.rglob("*.png"))
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in files))
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "1.tar", {str(path.relative_to(folder)): path.read_bytes() for path in files[:3]})
    write_tar(tmp_path / "tars" / "2.tar.gz", {str(path.relative_to(folder)): path.read_bytes() for path in files[3:]})
    wanted = list(read_recordings(folder, PIXELS, SourceRule()))
    assert [recording.source for recording in wanted] == ["a", "a", "b", "b"]
    for place in (folder / "*" / "*.png", tmp_path / "list.txt", tmp_path / "tars", tmp_path / "tars" / "*.tar*"):
        found = list(read_recordings(place, PIXELS, SourceRule()))
        assert [recording.source for recording in found] == ["a", "a", "b", "b"], place
        for recording, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(recording.windows, other.windows)
        assert len(sample_items(place, PIXELS, 3)) == 3
    (tmp_path / "tars" / "1.tar").write_bytes((tmp_path / "tars" / "1.tar").read_bytes()[:1200])
    with pytest.raises(DatasetError, match=r"1\.tar: the tar was cut off"):
        list(read_recordings(tmp_path / "tars" / "1.tar", PIXELS, SourceRule()))


def test_a_column_of_bytes_and_one_of_paths_hold_the_items_of_the_folder(tmp_path: Path) -> None:
    for source in ("a", "b"):
        pictures(tmp_path / "cal" / source, 3)
    folder = tmp_path / "cal"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}
    write_column(tmp_path / "files.parquet", files, rows=4)
    (folder / "list.csv").write_text("path,machine\n" + "".join(f"{name},{name[0]}\n" for name in files))
    wanted = list(read_recordings(folder, PIXELS, SourceRule()))
    for place, columns in (
        (tmp_path / "files.parquet", Columns(bytes="image", source="machine")),
        (folder / "list.csv", Columns(path="path", source="machine")),
    ):
        found = list(read_recordings(place, PIXELS, SourceRule(), columns))
        assert [recording.source for recording in found] == ["a", "a", "a", "b", "b", "b"]
        for recording, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(recording.windows, other.windows)
        np.testing.assert_array_equal(sample_items(place, PIXELS, 4, columns), sample_items(folder, PIXELS, 4))
    write_column(tmp_path / "broken.parquet", files | {"b/x.png": b"no picture"})
    with pytest.raises(DatasetError, match=r"broken\.parquet#6: .*; fix or remove the file"):
        list(read_recordings(tmp_path / "broken.parquet", PIXELS, SourceRule(), Columns(bytes="image")))
    with pytest.raises(DatasetError, match="or a table with --path-column or --bytes-column"):
        list(read_recordings(tmp_path / "files.parquet", PIXELS, SourceRule()))


def test_held_out_files_of_a_table_have_their_classes_in_the_column_label(tmp_path: Path) -> None:
    files = {name: png(number) for number, name in enumerate(("a", "b", "c"))}
    table = pa.table({"image": list(files.values()), "label": [1, 0, 1]})
    pq.write_table(table, tmp_path / "held-out.parquet")
    found = read_held_out(tmp_path / "held-out.parquet", PIXELS, ["good", "bad"], Columns(bytes="image"))
    assert found.labels.tolist() == [1, 0, 1]
    pq.write_table(table.set_column(1, "label", pa.array(["bad", None, "good"])), tmp_path / "held-out.parquet")
    with pytest.raises(ExportError, match="1 items have no label"):
        read_held_out(tmp_path / "held-out.parquet", PIXELS, ["good", "bad"], Columns(bytes="image"))


def test_arrays_in_a_compressed_file_are_the_items_of_the_one_that_is_not(tmp_path: Path) -> None:
    items = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    np.save(tmp_path / "items.npy", items)
    np.savez(tmp_path / "items.npz", items)
    for read in (lambda path: sample_items(path, PIXELS, 3), lambda path: _all(path)):
        np.testing.assert_array_equal(read(tmp_path / "items.npz"), read(tmp_path / "items.npy"))


def _all(path: Path) -> np.ndarray:
    return np.concatenate([recording.windows for recording in read_recordings(path, PIXELS, SourceRule())])


def test_the_first_files_rows_or_items_are_read_if_no_more_are_asked_for(tmp_path: Path) -> None:
    pictures(tmp_path / "cal", 5)
    files = {path.name: path.read_bytes() for path in sorted((tmp_path / "cal").iterdir())}
    table = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="a"),)))
    pq.write_table(pa.table({"a": np.arange(5.0)}), tmp_path / "rows.parquet")
    np.save(tmp_path / "items.npy", np.arange(5 * 192, dtype=np.uint8).reshape(5, 8, 8, 3))
    for place, spec in (
        (tmp_path / "cal", PIXELS),
        (write_tar(tmp_path / "cal.tar", files), PIXELS),
        (tmp_path / "items.npy", PIXELS),
        (tmp_path / "rows.parquet", table),
    ):
        everything = [recording.windows for recording in read_recordings(place, spec, SourceRule())]
        first = [recording.windows for recording in read_recordings(place, spec, SourceRule(), first=3)]
        np.testing.assert_array_equal(np.concatenate(first), np.concatenate(everything[:3]))
        np.testing.assert_array_equal(sample_items(place, spec, 9, first=3), np.concatenate(first))
