"""From named values to a row of a table model's tensor. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avizor_inference.errors import InvalidInput
from avizor_inference.items.inputs import CategoryColumn, NumberColumn, TableInput

Value = float | int | bool | str | None

# Of a number in a row; float32 holds none that is larger.
LARGEST = float(np.finfo(np.float32).max)


def encode_row(values: Mapping[str, Value], spec: TableInput) -> NDArray[np.float32]:
    """float32[columns]: numbers as they are, names as their place among the categories, NaN where missing (or None).

    True and False in a column of numbers are 1 and 0, as they are in a file. A name that is not among the categories is
    unknown, and counts as missing. Raises InvalidInput naming the column: one that the model does not have, a text where a
    number belongs, a number that float32 cannot hold; and for a row without any value, of which nothing can be said.
    """
    for name in values:
        if name not in spec.columns:
            raise InvalidInput(f"the model has no column {name!r}; it takes {', '.join(spec.columns)}", field=name)
    if all(value is None for value in values.values()):
        *names, last = spec.columns
        raise InvalidInput(f"the row holds no value; give {', '.join(names)}{' or ' if names else ''}{last}")
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
    if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidInput(f"column {column.name!r} holds {value!r}; give a finite number, or leave it out", field=column.name)
    if abs(value) > LARGEST:
        raise InvalidInput(
            f"column {column.name!r} holds {value!r}, which float32 cannot hold; give at most {LARGEST:.2g}, or leave it out",
            field=column.name,
        )
    return float(value)
