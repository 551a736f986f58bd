"""Rows of a CSV or Parquet file as raw items of a table model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from avizor_inference.errors import ExportError
from avizor_inference.inputs import CategoryColumn, TableInput
from avizor_inference.rows import encode_names

SUFFIXES = (".csv", ".parquet")

# What stands for a missing value in a CSV file, besides nothing at all.
_MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "None"]


def read_rows(path: Path, spec: TableInput) -> NDArray[np.float32]:
    """float32[rows, columns], NaN where missing. Columns that the model does not take are left aside.

    Raises ExportError if the file cannot be read, lacks a column, or has a text where a number belongs.
    """
    table = _read(path, spec)
    missing = [name for name in spec.columns if name not in table.column_names]
    if missing:
        raise ExportError(f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(table.column_names)}")
    if not table.num_rows:
        raise ExportError(f"{path} has no rows")
    columns = []
    for column in spec.front_end.columns:
        values = table[column.name].combine_chunks()
        if isinstance(column, CategoryColumn):
            columns.append(encode_names(np.array(values.cast(pa.string()).fill_null("").to_pylist(), dtype=str), column))
        else:
            columns.append(_numbers(values, path, column.name))
    return np.stack(columns, axis=1)


def read_column(path: Path, name: str) -> list[str]:
    """One column as text, such as the rows' sources or labels; empty where missing. Raises ExportError if there is none."""
    table = _read(path, None)
    if name not in table.column_names:
        raise ExportError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    return [str(value) for value in table[name].cast(pa.string()).fill_null("").to_pylist()]


def _read(path: Path, spec: TableInput | None) -> Any:
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        # A category may look like a number (a branch, say), so that its type is not left to be guessed.
        types = {column.name: pa.string() for _, column in spec.front_end.categories} if spec else {}
        options = pyarrow.csv.ConvertOptions(column_types=types, null_values=_MISSING, strings_can_be_null=True)
        return pyarrow.csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error


def _numbers(values: Any, path: Path, name: str) -> NDArray[np.float32]:
    try:
        # By way of float64: a whole number of 64 bits has no safe cast to float32.
        numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise ExportError(f"{path}: column {name!r} holds something that is no number: {error}") from error
    if np.isinf(numbers).any():
        raise ExportError(f"{path}: column {name!r} holds an infinite number; leave it empty if it is missing")
    return np.asarray(numbers, dtype=np.float32)
