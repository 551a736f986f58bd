"""Describe the rows of a table, and turn named values into a row of the tensor."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from avizor_inference.arrays import Items
from avizor_inference.errors import InvalidInput
from avizor_inference.items.kinds.base import FileForm, ItemInput, OneRow
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.strict_json import Strict

Value = float | int | bool | str | None

# In the short form of --input: missing values stay NaN.
_NO_FILL = ",fill=none"
# Of a number in a row; float32 holds none that is larger.
LARGEST = float(np.finfo(np.float32).max)


class NumberColumn(Strict):
    """Describes a column of numbers: missing values are filled, then all are clipped, then scaled, then standardised.

    fill, lower and upper are in the column's own unit; mean and std are of the scaled value: (value - mean) / std.
    """

    kind: Literal["number"] = "number"
    name: str = Field(min_length=1)
    fill: float | None = Field(
        default=0.0, description="replaces a missing value; null leaves it NaN, for the network to handle"
    )
    lower: float | None = Field(default=None, description="least value; lower ones are clipped")
    upper: float | None = Field(default=None, description="largest value; higher ones are clipped")
    scale: Literal["linear", "log1p"] = Field(default="linear", description="log1p: log(1 + value), for amounts and counts")
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> NumberColumn:
        lower, upper = self.lower, self.upper
        if lower is not None and upper is not None and lower >= upper:
            raise ValueError(f"column {self.name!r}: lower {lower:g} is not below upper {upper:g}")
        if self.scale == "log1p" and (lower is None or lower <= -1):
            raise ValueError(f"column {self.name!r}: log1p needs lower above -1, as in lower 0; log(1 + value) ends there")
        return self


class CategoryColumn(Strict):
    """Describes a column of names: one feature each, 1 where the row has that name. Missing or unknown: all 0.

    In the raw tensor a name is its place in `categories`, and NaN where it is missing or unknown.
    """

    kind: Literal["category"] = "category"
    name: str = Field(min_length=1)
    categories: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> CategoryColumn:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r}: a category is named twice")
        return self


Column = Annotated[NumberColumn | CategoryColumn, Field(discriminator="kind")]


class TableFrontEnd(Strict):
    """Describes the front end: raw columns -> the numbers standardised, in order, then the categories one-hot, in order."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> TableFrontEnd:
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two columns are named {', '.join(map(repr, twice))}")
        return self

    @property
    def numbers(self) -> tuple[tuple[int, NumberColumn], ...]:
        """Return the columns of numbers, each with its place in a row."""
        return tuple((place, each) for place, each in enumerate(self.columns) if isinstance(each, NumberColumn))

    @property
    def categories(self) -> tuple[tuple[int, CategoryColumn], ...]:
        """Return the columns of categories, each with its place in a row."""
        return tuple((place, each) for place, each in enumerate(self.columns) if isinstance(each, CategoryColumn))

    @property
    def features(self) -> tuple[str, ...]:
        """Return what the network sees, by name and in order: `amount`, `country=ES`. `error_map` has this order."""
        ones = (f"{column.name}={name}" for _, column in self.categories for name in column.categories)
        return (*(column.name for _, column in self.numbers), *ones)


@dataclass(frozen=True)
class TableRow(OneRow):
    """Holds one row of a table: a value for each column. A column that is absent or None is a missing value."""

    values: Mapping[str, Value]

    name: ClassVar[str] = "row"
    noun: ClassVar[str] = "a row"
    several: ClassVar[str] = "rows"

    def row(self, spec: ItemInput) -> Items:
        """See OneRow."""
        assert isinstance(spec, TableInput)  # it takes rows
        return encode_row(self.values, spec)

    def count_rows(self, spec: ItemInput) -> int:
        """See Content. Raises InvalidInput for a row that the model refuses: a row is all header."""
        self.row(spec)
        return 1

    def file_form(self, spec: ItemInput) -> FileForm:
        """See Content. It is a Parquet file of this one row, with each column of the model."""
        import pyarrow as pa
        import pyarrow.parquet as pq  # an extra, and not needed to serve

        assert isinstance(spec, TableInput)
        columns = {}
        for column in spec.front_end.columns:
            value = self.values.get(column.name)
            if isinstance(column, CategoryColumn):
                columns[column.name] = pa.array([value], pa.string())
            else:
                columns[column.name] = pa.array([None if value is None else float(value)], pa.float64())
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        return FileForm(".parquet", file.getvalue(), is_pack=True)


class TableInput(ItemInput):
    """Describes the input `record`: float32[batch, columns], NaN where a value is missing. float32 holds seven digits."""

    modality: Literal["table"] = "table"
    front_end: TableFrontEnd

    content: ClassVar[type[TableRow]] = TableRow
    nan_is_missing: ClassVar[bool] = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns in the order of a row."""
        return tuple(column.name for column in self.front_end.columns)

    def tensor(self) -> TensorSpec:
        """Return the graph's input."""
        meaning = f"one row of columns {', '.join(self.columns)}; NaN where missing"
        return TensorSpec(name="record", dtype="float32", item_shape=(len(self.columns),), meaning=meaning)

    @property
    def passes_missing(self) -> bool:
        """See ItemInput."""
        return any(column.fill is None for _, column in self.front_end.numbers)

    def column_names(self) -> tuple[str, ...]:
        """See ItemInput."""
        return self.columns

    def feature_names(self) -> tuple[str, ...]:
        """Return the names of what the network sees."""
        return self.front_end.features

    @classmethod
    def fields_of(cls, text: str) -> dict[str, object]:
        """Return columns of numbers from `columns=NAME/NAME/...`, with `,fill=none` without a fill.

        Raises ValueError for another form.
        """
        key, _, names = text.removesuffix(_NO_FILL).partition("=")
        if key != "columns" or not names or "," in names:
            raise ValueError("write table:columns=NAME/NAME/..., or a JSON file for more")
        options: dict[str, object] = {"fill": None} if text.endswith(_NO_FILL) else {}
        return {"front_end": {"columns": [{"kind": "number", "name": name, **options} for name in names.split("/")]}}


def encode_row(values: Mapping[str, Value], spec: TableInput) -> NDArray[np.float32]:
    """Return float32[columns]: numbers as they are, names as their place among the categories, NaN where missing (or None).

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
    """Return a column of names, str[n], as their places among the categories: float32[n], NaN where unknown."""
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
