"""Encode rows of a file, many at a time, as the tensors of models; a row that cannot be is refused by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avizor_inference.errors import InvalidInput
from avizor_inference.items.column_names import no_columns
from avizor_inference.items.data.table_data import text_of_value, texts_of
from avizor_inference.items.data.table_numbers import numbers_of
from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableInput
from avizor_inference.items.kinds.base import ItemInput
from avizor_inference.items.kinds.table import TableRow, encode_names


@dataclass(frozen=True)
class _Encoded:
    """Holds rows as one model takes them: float32[rows, columns]. wrong: place of a row -> column, what is wrong."""

    rows: NDArray[np.float32]
    wrong: Mapping[int, tuple[str, str]]


@dataclass
class RowBatch:
    """Holds some rows of a file.

    columns: name -> pyarrow.Array of the rows' values, of any type. wrong: place of a row -> why it could not be read at all.
    """

    columns: Mapping[str, Any]
    wrong: Mapping[int, str] = field(default_factory=dict)
    _encoded: dict[int, _Encoded] = field(default_factory=dict)  # by the description's identity

    def row(self, place: int, spec: TableInput) -> NDArray[np.float32]:
        """Return float32[columns] of one row as `encode_row` would make it. Raises InvalidInput.

        A text in a column of numbers is read as in the tables of a calibration.
        """
        if problem := self.wrong.get(place):
            raise InvalidInput(f"the row {problem}")
        if id(spec) not in self._encoded:
            self._encoded[id(spec)] = self._encode(spec)
        encoded = self._encoded[id(spec)]
        if problem_of := encoded.wrong.get(place):
            name, problem = problem_of
            raise InvalidInput(f"column {name!r} {problem}" if name else problem, field=name)
        return encoded.rows[place]  # type: ignore[no-any-return]

    def _encode(self, spec: TableInput) -> _Encoded:
        if missing := [name for name in spec.columns if name not in self.columns]:
            raise InvalidInput(f"the table has {no_columns(missing, list(self.columns))}")
        columns: list[NDArray[np.float32]] = []
        wrong: dict[int, tuple[str, str]] = {}
        absent = np.ones(len(self.columns[spec.columns[0]]), dtype=bool)  # where every value is missing
        for column in spec.front_end.columns:
            if isinstance(column, CategoryColumn):
                names, problems = _names(self.columns[column.name], column)
                columns.append(encode_names(names, column))
                absent &= names == ""
            else:
                numbers, problems = _numbers(self.columns[column.name], column)
                columns.append(numbers)
                absent &= np.isnan(numbers)
            wrong = {place: (column.name, problem) for place, problem in problems.items()} | wrong
        nothing = f"the row holds no value; give {', '.join(spec.columns)}"
        return _Encoded(np.stack(columns, axis=1), {int(place): ("", nothing) for place in np.flatnonzero(absent)} | wrong)


def _names(values: Any, column: CategoryColumn) -> tuple[NDArray[np.str_], dict[int, str]]:
    """Return str[rows], and what is wrong with the rows that hold no text: all at once unless there are such."""
    try:
        return np.array(texts_of(values, column.categories), dtype=str), {}
    except ValueError:
        names, wrong = [""] * len(values), {}
        for place in range(len(values)):
            try:
                (names[place],) = texts_of(values.slice(place, 1), column.categories)
            except ValueError as error:
                wrong[place] = str(error)
        return np.array(names, dtype=str), wrong


def _numbers(values: Any, column: NumberColumn) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return float32[rows], and what is wrong with the rows that hold no number: all at once unless there are such."""
    try:
        return numbers_of(values), {}
    except ValueError:
        numbers, wrong = np.full(len(values), np.nan, dtype=np.float32), {}
        for place in range(len(values)):
            try:
                numbers[place] = numbers_of(values.slice(place, 1), name_row=False)[0]
            except ValueError as error:
                wrong[place] = str(error)
        return numbers, wrong


@dataclass(frozen=True)
class RowOfFile(TableRow):
    """Holds one row of a file; `values` is empty, because they are in the batch."""

    batch: RowBatch
    place: int

    def row(self, spec: ItemInput) -> NDArray[np.float32]:
        """See OneRow."""
        assert isinstance(spec, TableInput)  # it takes rows
        return self.batch.row(self.place, spec)

    def others(self, spec: ItemInput) -> dict[str, str]:
        """See Content. The batch has them if the file was opened for whole rows."""
        taken = spec.column_names()
        columns = {name: column for name, column in self.batch.columns.items() if name not in taken}
        return {name: text_of_value(column, self.place) for name, column in columns.items()}
