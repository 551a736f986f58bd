"""Rows of a table: their description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.strict_json import Strict


class NumberColumn(Strict):
    """A column of numbers: missing values are filled, then clipped, then scaled, then standardised: (value - mean) / std.

    fill, lower and upper are in the column's own unit; mean and std are of the scaled value.
    """

    kind: Literal["number"] = "number"
    name: str = Field(min_length=1)
    fill: float = Field(default=0.0, allow_inf_nan=False, description="in place of a missing value")
    lower: float | None = Field(default=None, allow_inf_nan=False, description="least value; lower ones are clipped")
    upper: float | None = Field(default=None, allow_inf_nan=False, description="largest value; higher ones are clipped")
    scale: Literal["linear", "log1p"] = Field(default="linear", description="log1p: log(1 + value), for amounts and counts")
    mean: float = Field(default=0.0, allow_inf_nan=False)
    std: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> NumberColumn:
        lower, upper = self.lower, self.upper
        if lower is not None and upper is not None and lower >= upper:
            raise ValueError(f"column {self.name!r}: lower {lower:g} is not below upper {upper:g}")
        if self.scale == "log1p" and (lower is None or lower <= -1):
            raise ValueError(f"column {self.name!r}: log1p needs lower above -1, as in lower 0; log(1 + value) ends there")
        return self


class CategoryColumn(Strict):
    """A column of names: one feature each, 1 where the row has that name. Missing or unknown: all 0.

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
    """Raw columns -> features: the numbers standardised, in order, then the categories one-hot, in order."""

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
        """Columns of numbers, each with its place in a row."""
        return tuple((place, each) for place, each in enumerate(self.columns) if isinstance(each, NumberColumn))

    @property
    def categories(self) -> tuple[tuple[int, CategoryColumn], ...]:
        """Columns of categories, each with its place in a row."""
        return tuple((place, each) for place, each in enumerate(self.columns) if isinstance(each, CategoryColumn))

    @property
    def features(self) -> tuple[str, ...]:
        """What the network sees, by name and in order: `amount`, `country=ES`. The order of `error_map`."""
        ones = (f"{column.name}={name}" for _, column in self.categories for name in column.categories)
        return (*(column.name for _, column in self.numbers), *ones)


class TableInput(Strict):
    """`record`: float32[batch, columns], NaN where a value is missing. float32 holds seven digits of a number."""

    modality: Literal["table"] = "table"
    front_end: TableFrontEnd

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in the order of a row."""
        return tuple(column.name for column in self.front_end.columns)

    def tensor(self) -> TensorSpec:
        """The graph's input."""
        meaning = f"one row of columns {', '.join(self.columns)}; NaN where missing"
        return TensorSpec(name="record", dtype="float32", item_shape=(len(self.columns),), meaning=meaning)
