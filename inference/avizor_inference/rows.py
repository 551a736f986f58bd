"""From named values to a row of a table model's tensor. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avizor_inference.errors import InvalidInput
from avizor_inference.inputs import CategoryColumn, NumberColumn, TableInput

Value = float | int | bool | str | None


def encode_row(values: Mapping[str, Value], spec: TableInput) -> NDArray[np.float32]:
    """float32[columns]: numbers as they are, names as their place among the categories, NaN where missing (or None).

    Raises InvalidInput naming the column: one that the model does not have, a text where a number belongs, a number that is not
    finite. A name that is not among the categories is unknown, and counts as missing.
    """
    for name in values:
        if name not in spec.columns:
            raise InvalidInput(f"the model has no column {name!r}; it takes {', '.join(spec.columns)}", field=name)
    row = [_encode(values.get(column.name), column) for column in spec.front_end.columns]
    return np.array(row, dtype=np.float32)


def encode_names(names: NDArray[np.str_], column: CategoryColumn) -> NDArray[np.float32]:
    """A column of names, str[n], as their places among the categories: float32[n], NaN where unknown."""
    places = {name: float(place) for place, name in enumerate(column.categories)}
    return np.array([places.get(str(name), math.nan) for name in names], dtype=np.float32)


def _encode(value: Value, column: NumberColumn | CategoryColumn) -> float:
    if value is None:
        return math.nan
    if isinstance(column, CategoryColumn):
        if not isinstance(value, str):
            raise InvalidInput(
                f"column {column.name!r} holds {value!r}; give one of {', '.join(column.categories)}", field=column.name
            )
        return float(column.categories.index(value)) if value in column.categories else math.nan
    if isinstance(value, str) or not math.isfinite(value):
        raise InvalidInput(f"column {column.name!r} holds {value!r}; give a finite number, or leave it out", field=column.name)
    return float(value)
