"""Which items a version was trained with is kept beside it, and they are found again wherever they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.packed import write_tar

from avizor_inference.errors import CalibrationError, VersionRefused
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput, NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.trained_items import TRAINED_FILE, Untrained, read_trained, trained_file

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
TABLE = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="a"), NumberColumn(name="b"))))
PIXELS = ImageInput(height=8, width=8, channels=3)


def recordings(count: int = 6) -> list[NormalRecording]:
    return [NormalRecording("a", row[None], name=str(number)) for number, row in enumerate(ROWS[:count])]


def digests(path: Path, spec: ImageInput | TableInput) -> list[int]:
    return [recording.digest for recording in read_recordings(path, spec, SourceRule())]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_trained(tmp_path) is None
    (tmp_path / TRAINED_FILE).write_bytes(trained_file({2**64 - 1, 0, 7}))
    assert read_trained(tmp_path) == frozenset({0, 7, 2**64 - 1})
    (tmp_path / TRAINED_FILE).write_bytes(trained_file(()))
    assert read_trained(tmp_path) == frozenset()


def test_a_damaged_file_is_refused_and_named(tmp_path: Path) -> None:
    whole = trained_file({1, 2, 3})
    numbers = tmp_path / "numbers.npy"
    np.save(numbers, np.zeros((2, 2)))
    huge = whole.replace(b"(3,), ", b"(9999999999999,), ").replace(b" " * 20, b" " * 8, 1)
    damaged = (
        [huge] + [whole[:cut] for cut in (*range(0, 128, 9), len(whole) - 1)] + [numbers.read_bytes(), b"PK\x03\x04", b"no"]
    )
    for data in damaged:
        (tmp_path / TRAINED_FILE).write_bytes(data)
        with pytest.raises(
            VersionRefused, match=rf"{TRAINED_FILE}, which says what .* cannot be read \(.+\); restore it, or fit"
        ):
            read_trained(tmp_path)


def test_items_that_were_trained_with_are_left_out_and_counted() -> None:
    every = recordings()
    untrained = Untrained({every[0].digest, every[4].digest})
    assert [item.name for item in untrained.of(every)] == ["1", "2", "3", "5"]
    assert (untrained.left_out, untrained.left) == (2, 4)
    with pytest.raises(
        CalibrationError, match=r"the model was trained with all 2 items, .*; give normal items that it was not"
    ):
        list(Untrained({item.digest for item in every}).of(every[:2]))
    assert list(Untrained(set()).of([])) == []  # who calibrates says that there is none


def test_equal_rows_are_different_items_and_all_windows_count() -> None:
    row = NormalRecording("a", ROWS[:1], name="3")
    assert row.digest == NormalRecording("b", ROWS[:1].copy(), name="3").digest
    others = [("4", ROWS[:1]), ("3", ROWS[1:2]), ("3", ROWS[:2]), ("", ROWS[:1])]
    assert row.digest not in {NormalRecording("a", windows, name=name).digest for name, windows in others}
    strided = np.repeat(ROWS, 2, axis=1)[:, ::2]
    assert NormalRecording("a", strided).digest == NormalRecording("a", ROWS).digest


def test_an_item_is_known_again_in_another_folder_a_tar_and_a_table_of_another_format(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / "here" / "a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), number, np.uint8)).save(path)
    wanted = digests(tmp_path / "here", PIXELS)
    files = {f"a/{number}.png": (tmp_path / "here" / "a" / f"{number}.png").read_bytes() for number in range(3)}
    tar = write_tar(tmp_path / "all.tar", files)
    assert digests(tar, PIXELS) == wanted
    (tmp_path / "here").rename(tmp_path / "there")
    assert digests(tmp_path / "there" / "a", PIXELS) == wanted
    assert len(set(wanted)) == 3
    np.savetxt(tmp_path / "rows.csv", ROWS, delimiter=",", header="a,b", comments="")
    np.save(tmp_path / "rows.npy", ROWS)
    assert digests(tmp_path / "rows.csv", TABLE) == digests(tmp_path / "rows.npy", TABLE)
    assert digests(tmp_path / "rows.csv", TABLE) == [item.digest for item in recordings()]
