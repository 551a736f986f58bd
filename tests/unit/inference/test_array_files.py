"""array_files.py: each index of an array as an item."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avizor_inference.errors import MediaError
from avizor_inference.items.data import array_files
from avizor_inference.items.data.array_files import ArrayPack
from avizor_inference.items.dataset import Entry, list_dataset
from avizor_inference.items.kinds.base import TensorBytes
from avizor_inference.items.kinds.tensor import TensorInput

PACK = ArrayPack(in_folders=True)
SPEC = TensorInput(dtype="float32", item_shape=(2, 3))


def listed(path: Path) -> list[Entry]:
    return list(list_dataset([path], frozenset(), packs={".npy": PACK, ".npz": PACK}))


@pytest.mark.parametrize(
    "save", [np.save, lambda path, array: np.savez(path, x=array), lambda path, array: np.savez_compressed(path, x=array)]
)
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_items_come_back_from_any_part(
    save: Callable[[Path, Any], None], dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "_PART_ITEMS", 7)
    values = np.arange(120, dtype=dtype).reshape(20, 2, 3)
    save(tmp_path / "a", values)
    (path,) = tmp_path.iterdir()
    parts = listed(path)
    assert [part.uri.partition("#")[2] for part in parts] == ["0-6", "7-13", "14-19"]
    assert sum(part.size for part in parts) == values.nbytes
    items = [item for part in reversed(parts) for item in PACK.open(part)]
    assert {entry.uri for entry, _ in items} == {f"{path}#{number}" for number in range(20)}
    for entry, content in items:
        assert isinstance(content, TensorBytes)
        np.testing.assert_array_equal(content.row(SPEC), values[int(entry.uri.partition("#")[2])])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.float32(1), r"the array has the shape \[\]; its first dimension counts the items"),
        (np.zeros((0, 3)), r"the shape \[0, 3\]"),
        (np.asfortranarray(np.zeros((2, 3))), "in Fortran's order"),
        (np.array(["a"]), "is of type <U1; save it as numbers"),
    ],
)
def test_an_array_of_no_items_says_why(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    (entry,) = listed(tmp_path / "a.npy")
    assert entry.part is None
    with pytest.raises(MediaError, match=message):
        list(PACK.open(entry))


def test_files_that_are_cut_or_hold_several_arrays_say_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    data = (tmp_path / "a.npy").read_bytes()
    np.savez(tmp_path / "b.npz", x=np.zeros(3), y=np.zeros(3))
    for name, content, message in (
        ("a.npy", data[:-1], "the file was cut off"),
        ("a.npy", b"no array", "not an array that can be read"),
        ("b.npz", None, "holds the arrays x, y; save the one of the items"),
        ("b.npz", b"PK no more", "not an array that can be read"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=message):
            list(PACK.open(*listed(tmp_path / name)))
