"""byte_columns.py: files in a column of a Parquet file as items."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.packed import write_column

from avizor_inference.errors import DatasetError, MediaError, SettingsError
from avizor_inference.items.data.byte_columns import BytesPack
from avizor_inference.items.data.open_packs import open_packs
from avizor_inference.items.dataset import Columns, Entry, list_dataset
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.base import FileContent
from avizor_inference.items.kinds.image import ImageFile


def listed(path: Path, pack: BytesPack) -> list[Entry]:
    return list(list_dataset([path], frozenset(), packs={".parquet": pack}))


def data_of(pack: BytesPack, entry: Entry) -> bytes:
    ((_, content),) = pack.open(entry)
    assert isinstance(content, FileContent)
    assert isinstance(content.source, bytes)
    return content.source


@pytest.mark.parametrize("as_structs", [False, True])
def test_each_row_is_an_item_in_any_order(as_structs: bool, tmp_path: Path) -> None:
    files = {f"{'ab'[number % 2]}/{number}.png": bytes([number]) * (number + 1) for number in range(250)}
    path = write_column(tmp_path / "images.parquet", files, as_structs=as_structs)
    pack = BytesPack(ImageFile, "image", "machine")
    entries = listed(path, pack)
    assert [entry.uri for entry in entries] == [f"{path}#{number}" for number in range(250)]
    assert [entry.source for entry in entries[:3]] == ["a", "b", "a"]
    assert 0 < sum(entry.size for entry in entries) < 2 * sum(map(len, files.values()))
    for place in (0, 1, 249, 99, 100, 3, *range(250)):
        assert data_of(pack, entries[place]) == list(files.values())[place]


def test_an_empty_row_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array([b"x", None]), "name": ["a", "b"]}), path)
    pack = BytesPack(ImageFile, "image")
    good, empty = listed(path, pack)
    assert data_of(pack, good) == b"x"
    with pytest.raises(MediaError, match="the column 'image' is empty in this row"):
        list(pack.open(empty))


def test_a_file_with_the_column_twice_is_no_file_that_can_be_read(tmp_path: Path) -> None:
    images = pa.array([b"x"])
    pq.write_table(pa.Table.from_arrays([images, images], names=["image", "image"]), tmp_path / "twice.parquet")
    (entry,) = list_dataset([tmp_path], frozenset([".parquet"]), packs=open_packs([ImageFile], Columns(bytes="image")))
    with pytest.raises(MediaError, match="more than one column 'image'; leave one of them out"):
        list(open_packs([ImageFile], Columns(bytes="image"))[".parquet"].open(entry))


@pytest.mark.parametrize(
    ("column", "source", "message"),
    [
        ("machine", "", "column 'machine' is of type string, not of bytes"),
        ("imge", "", "no column 'imge'; it has image, machine; did you mean 'image'?"),
        ("image", "Maschine", "no column 'Maschine'; it has image, machine; did you mean 'machine'?"),
    ],
)
def test_a_column_that_none_of_the_tables_has_is_refused_at_once(
    column: str, source: str, message: str, tmp_path: Path
) -> None:
    path = write_column(tmp_path / "b.parquet", {"a/1.png": b"x"})
    (tmp_path / "a.parquet").write_bytes(b"broken, which is not the column's fault")
    packs = open_packs([ImageFile], Columns(bytes=column, source=source))
    for root in (path, tmp_path):
        with pytest.raises(DatasetError) as refused:
            list(list_dataset([root], frozenset([".parquet"]), packs=packs))
        assert str(refused.value).startswith(f"{path}: ")
        assert message in str(refused.value)


def test_one_table_without_the_column_is_one_entry_that_says_why(tmp_path: Path) -> None:
    for name in "bd":
        write_column(tmp_path / f"{name}.parquet", {"a/1.png": b"x"})
    for name in "ac":
        pq.write_table(pa.table({"other": [1]}), tmp_path / f"{name}.parquet")
    pack = BytesPack(ImageFile, "image")
    entries = list(list_dataset([tmp_path], frozenset([".parquet"]), packs={".parquet": pack}))
    assert [Path(entry.uri).name for entry in entries] == ["a.parquet", "b.parquet#0", "c.parquet", "d.parquet#0"]
    with pytest.raises(MediaError, match="has no column 'image'; it has other"):
        list(pack.open(entries[0]))


def test_what_the_bytes_are_has_to_be_clear(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the models take sound and images; run a job for models that take files of one"):
        open_packs([SoundFile, ImageFile], Columns(bytes="image"))
    with pytest.raises(DatasetError, match="say which column holds paths"):
        list(list_dataset([write_column(tmp_path / "a.parquet", {"a": b"x"})], ImageFile.suffixes))
