"""Say which files hold many items of the kinds that are wanted. This is the one place that names every kind of such files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from avizor_inference.errors import SettingsError
from avizor_inference.items.data.array_files import ArrayPack
from avizor_inference.items.data.packs import PackOfItems
from avizor_inference.items.data.tar_files import TAR_SUFFIXES, TarPack
from avizor_inference.items.dataset import Columns
from avizor_inference.items.kinds.base import Content, FileContent, TensorBytes
from avizor_inference.items.kinds.table import TableRow
from avizor_inference.items.path_lists import TABLE_SUFFIXES


def open_packs(
    contents: Collection[type[Content]],
    columns: Columns | None = None,
    row_columns: Sequence[str] = (),
    whole_rows: bool = False,
) -> dict[str, PackOfItems]:
    """Return what lists and opens the files that hold many items, by their suffixes.

    contents: what the items may be. row_columns: those of a table that the models take. whole_rows: see `RowsPack`. Raises
    SettingsError if the files in a column of bytes could be of several kinds, or of none.
    """
    columns = columns or Columns()
    files = [content for content in contents if issubclass(content, FileContent)]
    packs: dict[str, PackOfItems] = {}
    if not any(".npy" in content.suffixes for content in files):
        packs |= dict.fromkeys((".npy", ".npz"), ArrayPack(in_folders=TensorBytes in contents))
    if files:
        packs |= dict.fromkeys(TAR_SUFFIXES, TarPack(files))
    if columns.bytes:
        packs[".parquet"] = _bytes_pack(files, columns)
    if TableRow in contents:
        from avizor_inference.items.data.row_files import RowsPack  # pyarrow is only needed here

        packs |= dict.fromkeys(TABLE_SUFFIXES, RowsPack(tuple(row_columns), columns.source, whole_rows))
    return packs


def _bytes_pack(files: Sequence[type[FileContent]], columns: Columns) -> PackOfItems:
    if len(files) != 1:
        kinds = " and ".join(content.plural for content in files) or "no files"
        raise SettingsError(f"--bytes-column: the models take {kinds}; run a job for models that take files of one kind")
    from avizor_inference.items.data.byte_columns import BytesPack  # pyarrow is only needed here

    return BytesPack(files[0], columns.bytes, columns.source)
