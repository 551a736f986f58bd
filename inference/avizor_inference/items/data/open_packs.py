"""Say which files hold many items of the kinds that are wanted. This is the one place that names every kind of such files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from avizor_inference.items.data.packs import PackOfItems
from avizor_inference.items.dataset import Columns
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.kinds.table import TableRow


def open_packs(
    contents: Collection[type[Content]], columns: Columns | None = None, row_columns: Sequence[str] = ()
) -> dict[str, PackOfItems]:
    """Return what lists and opens the files that hold many items, by their suffixes.

    contents: what the items may be. row_columns: those of a table that the models take.
    """
    columns = columns or Columns()
    packs: dict[str, PackOfItems] = {}
    if TableRow in contents:
        from avizor_inference.items.data.row_files import RowsPack  # pyarrow is only needed here

        packs |= dict.fromkeys((".csv", ".parquet"), RowsPack(tuple(row_columns), columns.source))
    return packs
