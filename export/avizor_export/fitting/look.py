"""Look at a sample of the items of a folder, in bounded memory and time, and refuse what no model can be fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import BinaryIO

import numpy as np

from avizor_export.fitting.folder import NormalItems, Where
from avizor_export.fitting.kinds.base import KindToFit
from avizor_export.fitting.kinds.table import RowsToFit
from avizor_export.fitting.unreadable import Unreadable
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.items.column_names import conversion, other_separator_of
from avizor_inference.items.data.csv_records import header_of
from avizor_inference.items.data.item_files import ItemFiles
from avizor_inference.items.data.packs import open_listed
from avizor_inference.items.dataset import Columns, Entry
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.input_spec import KINDS, InputSpec
from avizor_inference.object_store import is_url

LOOKED_AT = 500  # items; of a table so many times as many rows
_ROWS_PER_ITEM = 10
_NAMED = 5  # tables that cannot be read, or have other columns
_HEADERS = 1000  # of so many tables the columns are compared
_FIRST_LINE = 1 << 20


def looked_at(unreadable: Unreadable, kind: KindToFit, numbers: Sequence[int], seed: int = 0) -> KindToFit:
    """Show a random sample of the items of these numbers to what looks at their kind, and return that.

    unreadable: reads them, and takes note of those that cannot be read. Raises DatasetError if they are too many.
    """
    most = LOOKED_AT * (_ROWS_PER_ITEM if isinstance(kind, RowsToFit) else 1)
    for number, entry, content in unreadable.contents(sample(numbers, most, seed)):
        with unreadable.noting(number):
            kind.look(entry, content)
    unreadable.refuse_many(" that were looked at")
    return kind


def sample(numbers: Sequence[int], most: int, seed: int) -> Sequence[int]:
    """Return as many of these numbers, by chance, sorted; all if there are no more."""
    if len(numbers) <= most:
        return numbers
    chosen: list[int] = np.sort(np.random.default_rng(seed).choice(np.array(numbers), most, replace=False)).tolist()
    return chosen


def read_once(unreadable: Unreadable, numbers: Sequence[int], spec: InputSpec) -> None:
    """Read the items of these numbers, to take note of those that cannot be read: before the training, not after it."""
    for _ in unreadable.recordings(numbers, spec):
        pass


def kind_of(modality: str) -> KindToFit:
    """Return what looks at items of a modality: the class of the module that is named after it."""
    module = import_module(f"avizor_export.fitting.kinds.{modality}")
    (kind,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, KindToFit) and each.__module__ == module.__name__
    )
    found: KindToFit = kind()
    return found


def list_items(where: Where, modality: str, seed: int = 0) -> NormalItems:
    """List the items at a place; of a table with all its columns. Raises DatasetError.

    Tables, and other files of many items, that cannot be listed are named together.
    """
    names = columns_of(where) if modality == "table" else None
    items = NormalItems(where, KINDS[modality], names, seed)
    unreadable = Unreadable(items)
    for _ in unreadable.contents([number for number in range(len(items)) if items.is_file_of_many(number)]):
        pass  # opening it says why
    unreadable.refuse_many()
    return items


def columns_of(where: Where) -> tuple[str, ...]:
    """Return the names of the columns of a table, or of the first of several that can be read. Raises DatasetError."""
    problems = list[str]()
    for entry in ItemFiles(KINDS["table"], Columns(), row_columns=()).list(where.path, where.rule, LeftOut()):
        try:
            return _header(entry)
        except MediaError as error:
            problems.append(f"{entry.file_uri}: {error}")
    named = "; ".join(problems[:_NAMED])
    raise DatasetError(f"{named}; fix or remove the file" if named else f"{where.name} holds no table")


def _header(entry: Entry) -> tuple[str, ...]:
    """Return the names of the columns of a table. Raises MediaError, DatasetError for columns that no commas separate."""
    if entry.path.suffix.lower() != ".parquet":
        with open_listed(entry) as file:
            _refuse_other_separator(entry, file)
            return tuple(header_of(file))
    from avizor_inference.items.data.row_files import parquet_file  # pyarrow is only needed here

    with parquet_file(entry) as opened:
        return tuple(opened.schema_arrow.names)


def column_notes(items: NormalItems) -> Iterator[str]:
    """Yield a warning of tables with columns that the first one does not have: those are not read. No others have any."""
    if not items.row_columns:
        return
    other = list[str]()
    for name, (entry, _) in islice(items.files().items(), _HEADERS):
        if more := [column for column in _header(entry) if column not in items.row_columns]:
            other.append(f"{name} ({named(more)})")
    if other:
        some = f"{len(other)} tables have" if len(other) > 1 else "1 table has"
        yield f"{some} columns that the first one does not have, and which are left out: {named(other, _NAMED)}"


def _refuse_other_separator(entry: Entry, file: BinaryIO) -> None:
    """Raise DatasetError, which says how to convert it, for a table whose columns are not separated by commas.

    It is not read as it is: a comma in it is a decimal one in most, and one of thousands in others (`1,500`).
    """
    if not (separator := other_separator_of(file.readline(_FIRST_LINE))):
        return
    command = conversion(separator, "TABLE.csv" if is_url(entry.path) else str(entry.path))
    raise DatasetError(
        f"{entry.file_uri}: its columns are separated by {separator!r}, and tables are read with commas and decimal points: "
        f"make one with `{command}`, and give that"
    )
