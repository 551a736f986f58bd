"""Read rows of a CSV or Parquet file as raw items of a table model."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.items.column_names import no_columns, no_such_column, why_unreadable
from avizor_inference.items.data.table_numbers import MISSING, numbers_of
from avizor_inference.items.file_access import first_line_of, name_of, open_file
from avizor_inference.items.input_spec import CategoryColumn, TableInput
from avizor_inference.items.kinds.table import encode_names
from avizor_inference.items.object_files import check_store
from avizor_inference.items.text_encoding import line_not_utf8
from avizor_inference.object_store import is_url

_log = logging.getLogger(__name__)

# Of a time that falls on a second.
_NO_FRACTION = re.compile(r"\.0+(?!\d)")


@dataclass(frozen=True)
class Table:
    """Holds a table that was read, and the description of the columns that a model takes."""

    path: Path
    spec: TableInput
    data: Any  # pyarrow.Table

    def rows(self) -> NDArray[np.float32]:
        """Return float32[rows, columns], NaN where missing. Columns that the model does not take are ignored.

        Logs which share of a column of categories belongs to none of them.
        Raises DatasetError if the table lacks a column or has it twice, is empty, has a text where a number belongs, or a
        column of categories that holds none of them.
        """
        missing = [name for name in self.spec.columns if name not in self.data.column_names]
        if missing:
            raise DatasetError(f"{self.path} has {no_columns(missing, self.data.column_names)}")
        if twice := [name for name in self.spec.columns if self.data.column_names.count(name) > 1]:
            raise DatasetError(f"{self.path} has more than one column {twice[0]!r}; leave one of them out")
        if not self.data.num_rows:
            raise DatasetError(f"{self.path} has no rows")
        columns = []
        for column in self.spec.front_end.columns:
            if isinstance(column, CategoryColumn):
                columns.append(self._places(column))
            else:
                try:
                    columns.append(numbers_of(self.data[column.name].combine_chunks()))
                except ValueError as error:
                    raise DatasetError(f"{self.path}: column {column.name!r} {error}") from error
        return np.stack(columns, axis=1)

    def texts(self, name: str, known: Sequence[str] = ()) -> list[str]:
        """Return one column as text, such as the rows' sources or labels; empty where missing.

        known: names that do not mean a missing value, even if they look so: NA is also Namibia. Raises DatasetError if there
        is no such column, or it holds no text.
        """
        if name not in self.data.column_names:
            raise DatasetError(f"{self.path} has {no_such_column([name], self.data.column_names)}")
        try:
            return texts_of(self.data[name], known)
        except ValueError as error:
            raise DatasetError(f"{self.path}: column {name!r} {error}") from error

    def _places(self, column: CategoryColumn) -> NDArray[np.float32]:
        """Return the indices of a column's names among its categories."""
        names = np.array(self.texts(column.name, column.categories), dtype=str)
        places = encode_names(names, column)
        unknown = np.isnan(places) & (names != "")
        if not unknown.any():
            return places
        some = ", ".join(map(repr, np.unique(names[unknown])[:3].tolist()))
        what = f"{self.path}: column {column.name!r}"
        if np.isnan(places).all():
            raise DatasetError(f"{what} holds {some} and none of its categories {', '.join(column.categories)}; write them so")
        _log.warning(
            "%s: %.1f%% of the rows are of no category that the model has (%s), and %.1f%% are missing",
            what, 100 * unknown.mean(), some, 100 * (names == "").mean(),
        )  # fmt: skip
        return places


def read_table(path: Path, spec: TableInput, texts: Iterable[str] = ()) -> Table:
    """Read a .csv or .parquet file. Raises DatasetError if it cannot be read, StoreUnavailable.

    texts: columns besides the model's categories that are text whatever they look like, so that an account 007 stays one.
    """
    try:
        with _opened(path) as file:
            return Table(path, spec, _data_of(file, path, [*texts, *spec.columns]))
    except MediaError as error:
        raise DatasetError(f"{name_of(str(path))}: {error}") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        check_store()
        if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in str(error):
            raise DatasetError(f"{path}: {_not_utf8(path)}") from error
        raise DatasetError(f"{path}: {why_unreadable(path, first_line_of(path), error)}") from error


def _not_utf8(path: Path) -> str:
    if path.suffix.lower() == ".parquet":
        return "holds texts that are not in UTF-8; write the file again"
    with open_file(path) as file:
        return line_not_utf8(file, path)


def _opened(path: Path) -> AbstractContextManager[Path | BinaryIO]:
    return open_file(path) if is_url(path) else nullcontext(path)


def _data_of(file: Path | BinaryIO, path: Path, texts: Sequence[str]) -> Any:
    """Return the pyarrow.Table of a file. texts: columns that are read as text if it is a CSV file."""
    if path.suffix.lower() == ".parquet":
        data = pyarrow.parquet.read_table(file)
        data.validate(full=True)  # or else texts that are not UTF-8 are found where they are used
        return data
    # As text, numbers too: else their type would be guessed from the first rows.
    options = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in texts})
    data = pyarrow.csv.read_csv(file, convert_options=options)
    list(data.column_names)  # decodes the header, which may be in another encoding
    return data


def texts_of(column: Any, known: Sequence[str] = ()) -> list[str]:
    """Return a column of pyarrow as text; empty where missing. known: see `Table.texts`.

    Raises ValueError, with what is wrong in the words that follow the column's name.
    """
    try:
        texts = column.cast(pa.string()).fill_null("")
    except pa.ArrowInvalid as error:
        raise ValueError("holds bytes that are not UTF-8; write it as text") from error
    except pa.ArrowException as error:
        raise ValueError(f"is of type {column.type}, not of text") from error
    missing = pa.array([word for word in MISSING if word not in known], pa.string())
    return pc.if_else(pc.is_in(texts, value_set=missing), "", texts).to_pylist()  # type: ignore[no-any-return]


def sources_of(column: Any, name: str) -> list[str]:
    """Return the column of pyarrow that names the sources of rows as text. Raises MediaError, with the column's name."""
    try:
        return texts_of(column)
    except ValueError as error:
        raise MediaError(f"column {name!r} {error}") from error


def text_of_value(column: Any, place: int) -> str:
    """Return one value of a column of pyarrow as a person reads it; empty where missing."""
    try:
        text = column.slice(place, 1).cast(pa.string())[0].as_py() or ""
    except pa.ArrowException:  # a time zone that this machine does not know
        return f"({column.type})"
    return _NO_FRACTION.sub("", text) if pa.types.is_temporal(column.type) else text
