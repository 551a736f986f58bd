"""row_files.py: the rows of CSV and Parquet files as items, in parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.tables import TRANSFER, transfers

from avizor_inference.arrays import Items
from avizor_inference.errors import DatasetError, InvalidInput, MediaError
from avizor_inference.items.data.open_packs import open_packs
from avizor_inference.items.data.row_files import PART_ROWS
from avizor_inference.items.data.table_data import read_table
from avizor_inference.items.dataset import Columns, Entry, list_dataset
from avizor_inference.items.input_spec import NumberColumn, TableFrontEnd, TableInput
from avizor_inference.items.kinds.base import OneRow
from avizor_inference.items.kinds.table import TableRow

HEADER = "amount,hour,country,bank\n"


def items(path: Path, spec: TableInput = TRANSFER, source: str = "") -> Iterator[tuple[Entry, Items | str]]:
    """Each row as a job lists and reads it, or why it cannot be read."""
    columns = Columns(source=source)
    packs = open_packs([TableRow], columns, spec.columns)
    for part in list_dataset([path], frozenset(packs), columns=columns, packs=packs):
        for item, content in packs[path.suffix].open(part):
            assert isinstance(content, OneRow)
            try:
                yield item, content.row(spec)
            except InvalidInput as error:
                yield item, str(error)


def many(path: Path, count: int) -> Path:
    """A table of numbers that has its row's number in column `amount`."""
    numbers = np.arange(count, dtype=np.float64)
    table = pa.table({"amount": numbers, "hour": numbers % 24, "country": ["ES"] * count})
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path, row_group_size=PART_ROWS + 10)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_large_table_is_many_entries_with_each_row_once(suffix: str, tmp_path: Path) -> None:
    path = many(tmp_path / f"table{suffix}", 2 * PART_ROWS + 50)
    packs = open_packs([TableRow], None, TRANSFER.columns)
    parts = list(list_dataset([path], frozenset(), packs=packs))
    assert [part.part.first for part in parts if part.part][:2] == [0, PART_ROWS]
    assert sum(part.items for part in parts) == 2 * PART_ROWS + 50
    assert parts[0].uri == f"{path}#0-{PART_ROWS - 1}"
    assert sum(part.size for part in parts) <= path.stat().st_size or suffix == ".parquet"
    found = list(items(path))
    assert [item.uri for item, _ in found] == [f"{path}#{number}" for number in range(2 * PART_ROWS + 50)]
    assert [float(row[0]) for _, row in found if not isinstance(row, str)] == list(range(2 * PART_ROWS + 50))


def test_rows_are_what_a_calibration_reads_of_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + " 12.5 ,NA,IT,a\n,true,-,b\n1e3,23,FR,\n")
    wanted = read_table(path, TRANSFER).rows()
    found = list(items(path, source="bank"))
    np.testing.assert_array_equal(np.stack([row for _, row in found if not isinstance(row, str)]), wanted)
    assert [item.source for item, _ in found] == ["a", "b", "default"]


def test_a_bad_row_says_why_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + '1,2,ES,a\n1,2\nmany,2,ES,a\n,,,a\n1e39,3,ES,a\n"1,5",3,ES,a\n4,5,Mars,a\n')
    first, short, text, empty, large, comma, unknown = (row for _, row in items(path))
    np.testing.assert_array_equal(first, np.array([1, 2, 0], np.float32))
    assert short == "the row has 2 values, and the table 4 columns"
    assert "column 'amount' holds 'many', which is not a number" in text
    assert empty == "the row holds no value; give amount, hour, country"
    assert "1e+39, more than float32 holds; leave" in large
    assert "holds '1,5'; write decimals with a point" in comma
    np.testing.assert_array_equal(unknown, np.array([4, 5, np.nan], np.float32))


BAD_NAMES = [
    (pa.array([b"ES", b"\xff", None, b"IT"]), [1], "holds bytes that are not UTF-8; write it as text"),
    (pa.array([["ES"]] * 4), [0, 1, 2, 3], "is of type list<"),
]


@pytest.mark.parametrize(("names", "bad", "message"), BAD_NAMES)
def test_a_name_that_is_no_text_costs_its_row_alone_and_a_calibration_says_which_column(
    names: pa.Array, bad: list[int], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"amount": [1.0] * 4, "hour": [2.0] * 4, "country": names}), path)
    found = [row for _, row in items(path)]
    assert [place for place, row in enumerate(found) if isinstance(row, str)] == bad
    assert all(row.startswith(f"column 'country' {message}") for row in found if isinstance(row, str))
    with pytest.raises(DatasetError, match=rf"table.parquet: column 'country' {message}"):
        read_table(path, TRANSFER).rows()
    with pytest.raises(MediaError, match=rf"^column 'country' {message}"):
        list(items(path, source="country"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Amount,hour,country\n1,2,ES\n", "the table has no column 'amount'; it has Amount, hour, country; 'Amount' is not"),
        ("amount;hour;country\n1;2;ES\n", "its columns look separated by ';'"),
        ("amount,hour,hour,country\n1,2,3,ES\n", "more than one column 'hour'"),
        (HEADER, "the table has no rows"),
    ],
)
def test_a_file_that_is_no_such_table_is_one_entry_that_says_why(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    packs = open_packs([TableRow], None, TRANSFER.columns)
    (entry,) = list_dataset([path], frozenset(), packs=packs)
    assert (entry.uri, entry.part) == (str(path), None)
    with pytest.raises(MediaError, match=message):
        list(packs[".csv"].open(entry))


def test_a_source_column_that_the_table_lacks_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + "1,2,ES,a\n")
    with pytest.raises(DatasetError, match=r"the table has no column 'bnak'; it has .*; did you mean 'bank'"):
        list(items(path, source="bnak"))


def test_a_file_that_was_changed_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    path = many(tmp_path / "table.parquet", 10)
    packs = open_packs([TableRow], None, TRANSFER.columns)
    (entry,) = list_dataset([path], frozenset(), packs=packs)
    many(path, 5)
    with pytest.raises(MediaError, match="was changed since it was listed"):
        list(packs[".parquet"].open(entry))
    path.write_bytes(b"PAR1 no more")
    (broken,) = list_dataset([path], frozenset(), packs=packs)
    with pytest.raises(MediaError, match="not a Parquet file that can be read"):
        list(packs[".parquet"].open(broken))


def test_real_tables_are_the_same_as_csv_and_parquet(shared_data: Path, tmp_path: Path) -> None:
    for archive in sorted((shared_data / "tables").glob("*.npz"))[:3]:
        with np.load(archive) as arrays:
            values = arrays["X"][:2000]
        names = [f"x{place}" for place in range(values.shape[1])]
        spec = TableInput(front_end=TableFrontEnd(columns=tuple(NumberColumn(name=name) for name in names)))
        table = pa.table(dict(zip(names, values.T, strict=True)))
        pyarrow.csv.write_csv(table, tmp_path / "table.csv")
        pq.write_table(table, tmp_path / "table.parquet")
        for path in (tmp_path / "table.csv", tmp_path / "table.parquet"):
            rows = [row for _, row in items(path, spec) if not isinstance(row, str)]
            np.testing.assert_array_equal(np.stack(rows), values.astype(np.float32), str(archive))


def test_generated_rows_come_back_with_what_is_missing(tmp_path: Path) -> None:
    rows = transfers(40)
    names = ["ES", "FR", "IT"]
    lines = [
        ",".join(
            [
                "" if np.isnan(a) else repr(float(a)),
                "" if np.isnan(h) else repr(float(h)),
                *([] if np.isnan(c) else [names[int(c)]]),
            ]
        )
        + ("," if np.isnan(c) else "")
        for a, h, c in rows
    ]
    path = tmp_path / "table.csv"
    path.write_text("amount,hour,country\n" + "\n".join(lines) + "\n")
    kept = [place for place, row in enumerate(rows) if not np.isnan(row).all()]
    found = [row for _, row in items(path)]
    np.testing.assert_array_equal(np.stack([found[place] for place in kept]), rows[kept])
