"""Rows of a CSV or Parquet file as raw items of a table model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Table:
    """A table that was read, and what of it a model takes."""

    path: Path
    spec: TableInput
    data: Any  # pyarrow.Table

    def rows(self) -> NDArray[np.float32]:
        """float32[rows, columns], NaN where missing. Columns that the model does not take are left aside.

        Raises ExportError if the table lacks a column, is empty, or has a text where a number belongs.
        """
        missing = [name for name in self.spec.columns if name not in self.data.column_names]
        if missing:
            raise self._without(missing)
        if not self.data.num_rows:
            raise ExportError(f"{self.path} has no rows")
        columns = []
        for column in self.spec.front_end.columns:
            if isinstance(column, CategoryColumn):
                columns.append(encode_names(np.array(self.texts(column.name), dtype=str), column))
            else:
                columns.append(_numbers(self.data[column.name].combine_chunks(), self.path, column.name))
        return np.stack(columns, axis=1)

    def texts(self, name: str) -> list[str]:
        """One column as text, such as the rows' sources or labels; empty where missing. Raises ExportError if there is none."""
        if name not in self.data.column_names:
            raise self._without([name])
        return self.data[name].cast(pa.string()).fill_null("").to_pylist()  # type: ignore[no-any-return]

    def _without(self, missing: list[str]) -> ExportError:
        there = ", ".join(self.data.column_names)
        return ExportError(f"{self.path} has no column {', '.join(map(repr, missing))}; it has {there}")


def read_table(path: Path, spec: TableInput, texts: Iterable[str] = ()) -> Table:
    """Read a .csv or .parquet file. Raises ExportError if it cannot be read.

    texts: columns besides the model's categories that are text whatever they look like, so that an account 007 stays one.
    """
    try:
        if path.suffix == ".parquet":
            return Table(path, spec, pyarrow.parquet.read_table(path))
        names = [*texts, *(column.name for _, column in spec.front_end.categories)]
        types = {name: pa.string() for name in names}
        options = pyarrow.csv.ConvertOptions(column_types=types, null_values=_MISSING, strings_can_be_null=True)
        return Table(path, spec, pyarrow.csv.read_csv(path, convert_options=options))
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
