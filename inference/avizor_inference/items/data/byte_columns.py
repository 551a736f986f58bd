"""List and open the files that a column of a Parquet file holds as bytes: pictures, sounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from avizor_inference.errors import ColumnMissing, MediaError
from avizor_inference.items.column_names import no_such_column
from avizor_inference.items.data.packs import PackOfItems
from avizor_inference.items.data.row_files import parquet_file
from avizor_inference.items.data.table_data import sources_of
from avizor_inference.items.dataset import Entry, Part
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.source_rule import SourceRule

# Of a row group that are decoded at once: rows at most, and bytes by the average size of a row.
_BATCH_ROWS = 64
_BATCH_BYTES = 8 * 2**20

# The field of a struct that holds a file: datasets of Hugging Face have columns of {bytes, path}.
_BYTES = "bytes"


@dataclass
class BytesPack(PackOfItems):
    """Takes the bytes in each row of a Parquet file for a file. The row's number, from 0, follows the `#` of its uri.

    file: what they are. column: of bytes, or of structs with a field `bytes`. source_column: names each row's source; where
    that is missing, or without such a column, it is the Parquet file's.
    """

    file: type[FileContent]
    column: str
    source_column: str = ""
    _cursor: _Cursor | None = field(default=None, repr=False)  # of the last item: the next one is behind it

    def contents(self, entry: Entry) -> Sequence[type[Content]]:
        """See PackOfItems."""
        return (self.file,)

    def parts(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """See PackOfItems."""
        with parquet_file(file) as opened:
            column = leaf_of(opened.schema_arrow, self.column)
            wanted = [self.source_column] if self.source_column else []
            if missing := [name for name in wanted if name not in opened.schema_arrow.names]:
                raise ColumnMissing(f"the file has {no_such_column(missing, opened.schema_arrow.names)}")
            number = 0
            for group in range(opened.num_row_groups):
                rows = opened.metadata.row_group(group).num_rows
                size = _bytes_of(opened, group, column) // max(1, rows)
                for source in _sources(opened, group, self.source_column) if wanted else [""] * rows:
                    yield file.of_part(Part(str(number), number), size, source)
                    number += 1
            if not number:
                raise MediaError("the file has no rows")

    def items(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """See PackOfItems."""
        assert entry.part
        if not (self._cursor and self._cursor.is_of(entry)):
            self._cursor = _Cursor(entry, self.column)
        data = self._cursor.value(entry.part.first)
        if data is None:
            raise MediaError(f"the column {self.column!r} is empty in this row")
        yield entry, self.file(data)


class _Cursor:
    """Reads values of one column in the order of the rows; it can go back, which reads the row group again."""

    def __init__(self, entry: Entry, column: str) -> None:
        self._entry, self._column = entry, column
        self._values, self._first = pa.array([], pa.binary()), 0  # some rows, and the number of the first
        self._rest = self._batches(0)

    def is_of(self, entry: Entry) -> bool:
        """Return whether it reads the file of this entry."""
        return (self._entry.file, self._entry.modified_ns) == (entry.file, entry.modified_ns)

    def value(self, number: int) -> bytes | None:
        """Return the value of a row. Raises MediaError."""
        ahead = number - self._first - len(self._values)
        if number < self._first or ahead >= _BATCH_ROWS:
            self._rest = self._batches(number)
            self._values, self._first = pa.array([], pa.binary()), number
        while number >= self._first + len(self._values):
            try:
                self._first, self._values = next(self._rest)
            except StopIteration:
                raise MediaError(f"the file has no row {number}") from None
        return self._values[number - self._first].as_py()  # type: ignore[no-any-return]

    def _batches(self, number: int) -> Iterator[tuple[int, Any]]:
        """Yield the values from the row group that holds this row on, some at a time, with the number of the first."""
        with parquet_file(self._entry) as opened:
            column = leaf_of(opened.schema_arrow, self._column)
            first = 0
            for group in range(opened.num_row_groups):
                rows = opened.metadata.row_group(group).num_rows
                if number >= first + rows:
                    first += rows
                    continue
                most = max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(1, _bytes_of(opened, group, column))))
                for batch in opened.iter_batches(most, row_groups=[group], columns=[column], use_threads=False):
                    values = batch.column(0)
                    yield first, values.field(_BYTES) if pa.types.is_struct(values.type) else values
                    first += batch.num_rows


def leaf_of(schema: Any, column: str) -> str:
    """Return the path of a column of bytes in a Parquet file, as pyarrow names it. Raises ColumnMissing, MediaError."""
    if column not in schema.names:
        raise ColumnMissing(f"the file has {no_such_column([column], schema.names)}")
    if schema.names.count(column) > 1:
        raise MediaError(f"the file has more than one column {column!r}; leave one of them out")
    type = schema.field(column).type
    path = column
    if pa.types.is_struct(type) and type.get_field_index(_BYTES) >= 0:
        type, path = type.field(_BYTES).type, f"{column}.{_BYTES}"
    if not (pa.types.is_binary(type) or pa.types.is_large_binary(type)):
        raise ColumnMissing(f"column {column!r} is of type {type}, not of bytes; name the column that holds the files' bytes")
    return path


def _bytes_of(opened: Any, group: int, column: str) -> int:
    """Return the size of a column in a row group."""
    chunks = (opened.metadata.row_group(group).column(place) for place in range(opened.metadata.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)


def _sources(opened: Any, group: int, column: str) -> Iterator[str]:
    for batch in opened.iter_batches(4096, row_groups=[group], columns=[column], use_threads=False):
        yield from sources_of(batch.column(0), column)
