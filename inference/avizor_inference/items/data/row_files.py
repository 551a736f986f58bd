"""List and open the rows of CSV and Parquet files, some thousand at a time, in memory that does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.error_text import one_line
from avizor_inference.errors import ColumnMissing, MediaError
from avizor_inference.items.column_names import no_columns, no_such_column
from avizor_inference.items.data.csv_records import header_of, records, values_of
from avizor_inference.items.data.packs import PackOfItems, open_listed
from avizor_inference.items.data.row_batches import RowBatch, RowOfFile
from avizor_inference.items.data.table_data import sources_of
from avizor_inference.items.dataset import Entry
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.kinds.table import TableRow
from avizor_inference.items.source_rule import SourceRule

# Rows of one entry, and so of one shard; rows that are converted at once.
PART_ROWS = 4096
_BATCH_ROWS = 512

_PARQUET = ".parquet"


@dataclass(frozen=True)
class RowsPack(PackOfItems):
    """Takes each row of a CSV or Parquet file for an item.

    columns: that the models take; a file without one is refused. source_column: names each row's source; where that is missing,
    or without such a column, it is the file's. whole_rows: to read all that a person can read of a row, for `Content.others`,
    and not just what models take; without columns of bytes, of lists, and of names that occur twice.
    """

    columns: Sequence[str]
    source_column: str = ""
    whole_rows: bool = False

    def contents(self, entry: Entry) -> Sequence[type[Content]]:
        """See PackOfItems."""
        return (TableRow,)

    def parts(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """See PackOfItems."""
        yield from self._parquet_parts(file) if file.path.suffix.lower() == _PARQUET else self._csv_parts(file)

    def items(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """See PackOfItems."""
        is_parquet = entry.path.suffix.lower() == _PARQUET
        number = 0
        for batch in self._parquet_batches(entry) if is_parquet else self._csv_batches(entry):
            rows = len(next(iter(batch.columns.values())))
            sources = sources_of(batch.columns[self.source_column], self.source_column) if self.source_column else [""] * rows
            for place, source in enumerate(sources):
                yield entry.item(number, source), RowOfFile({}, batch, place)
                number += 1
        if number < entry.items:
            raise MediaError(f"the file ends after {number} of {entry.items} rows")

    def _csv_parts(self, file: Entry) -> Iterator[Entry]:
        with open_listed(file) as opened:
            self._check(header_of(opened))
            first, count, start, end = 0, 0, opened.tell(), 0
            for end, _ in records(opened):
                count += 1
                if count == PART_ROWS:
                    yield file.of_items(first, count, end - start, start)
                    first, count, start = first + count, 0, end
        if count:
            yield file.of_items(first, count, end - start, start)
        elif not first:
            raise MediaError("the table has no rows")

    def _csv_batches(self, entry: Entry) -> Iterator[RowBatch]:
        assert entry.part
        with open_listed(entry) as opened:
            names = header_of(opened)
            opened.seek(entry.part.offset)
            lines = (record for _, record in islice(records(opened), entry.part.items))
            while group := list(islice(lines, _BATCH_ROWS)):
                yield self._csv_batch(names, group)

    def _csv_batch(self, names: Sequence[str], lines: Sequence[bytes]) -> RowBatch:
        rows, wrong = [], {}
        for place, line in enumerate(lines):
            values: Sequence[str | None] = [None] * len(names)
            try:
                found = values_of(line)
                if len(found) == len(names):
                    values = found
                else:
                    wrong[place] = f"has {len(found)} values, and the table {len(names)} columns"
            except ValueError as error:
                wrong[place] = str(error)
            rows.append(values)
        by_name = dict(zip(names, zip(*rows, strict=True), strict=True))
        return RowBatch({name: pa.array(by_name[name], pa.string()) for name in self._read(names, names)}, wrong)

    def _parquet_parts(self, file: Entry) -> Iterator[Entry]:
        with parquet_file(file) as opened:
            self._check(opened.schema_arrow.names)
            first = 0
            for place in range(opened.num_row_groups):
                group = opened.metadata.row_group(place)
                each = group.total_byte_size // max(1, group.num_rows)
                for start in range(0, group.num_rows, PART_ROWS):
                    count = min(PART_ROWS, group.num_rows - start)
                    yield file.of_items(first + start, count, count * each)
                first += group.num_rows
        if not first:
            raise MediaError("the table has no rows")

    def _parquet_batches(self, entry: Entry) -> Iterator[RowBatch]:
        with parquet_file(entry) as opened:
            schema = opened.schema_arrow
            read = self._read(schema.names, [field.name for field in schema if _can_be_read(field.type)])
            for batch in part_batches(opened, entry, read, _BATCH_ROWS):
                yield RowBatch({name: batch.column(name) for name in read})

    def _read(self, names: Sequence[str], readable: Sequence[str]) -> list[str]:
        """Return the columns of a file that are read. readable: those of its names that a person can read."""
        others = [name for name in readable if names.count(name) == 1] if self.whole_rows else []
        return list(dict.fromkeys([*self._wanted, *others]))

    @property
    def _wanted(self) -> list[str]:
        return list(dict.fromkeys([*self.columns, *([self.source_column] if self.source_column else [])]))

    def _check(self, names: Sequence[str]) -> None:
        """Raise MediaError unless each of the wanted columns is there once; ColumnMissing if it is that of the sources."""
        if missing := [name for name in self.columns if name not in names]:
            raise MediaError(f"the table has {no_columns(missing, names)}")
        if self.source_column and self.source_column not in names:
            raise ColumnMissing(f"the table has {no_such_column([self.source_column], names)}")
        if twice := [name for name in self._wanted if names.count(name) > 1]:
            raise MediaError(f"the table has more than one column {twice[0]!r}; leave one of them out")


def _can_be_read(kind: Any) -> bool:
    """Return whether the values of a type of pyarrow are short texts, numbers or times."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_primitive(kind) or pa.types.is_decimal(kind))


@contextmanager
def parquet_file(entry: Entry) -> Iterator[Any]:
    """Open a pyarrow.parquet.ParquetFile. Whatever pyarrow raises inside becomes a MediaError."""
    try:
        with open_listed(entry) as file, pq.ParquetFile(file, pre_buffer=False) as opened:
            yield opened
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise MediaError(f"not a Parquet file that can be read ({one_line(error)})") from error


def part_batches(opened: Any, entry: Entry, columns: Sequence[str], most: int) -> Iterator[Any]:
    """Yield the rows of a part of one row group, as pyarrow.RecordBatches of at most `most` rows. Raises pa.ArrowException."""
    assert entry.part
    before = entry.part.first
    place = 0
    while before >= (rows := opened.metadata.row_group(place).num_rows):
        before, place = before - rows, place + 1
    left = entry.part.items
    for batch in opened.iter_batches(batch_size=most, row_groups=[place], columns=list(columns), use_threads=False):
        kept = batch.slice(min(before, batch.num_rows), left)
        before = max(0, before - batch.num_rows)
        if kept.num_rows:
            kept.validate(full=True)  # texts that are not UTF-8
            yield kept
        left -= kept.num_rows
        if not left:
            return
