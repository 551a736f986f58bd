"""Define the front end of rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_export.front_ends.kinds.base import KindOfFrontEnd, Rows
from avizor_export.front_ends.table_scaling import TableScaling
from avizor_inference.items.kinds.table import CategoryColumn, NumberColumn, TableInput
from avizor_inference.strict_json import Strict

# Categories of a column that are named one by one.
_MOST_NAMES = 10


class FrontEnd(KindOfFrontEnd[TableInput]):
    """Standardises numbers, and makes categories one-hot. Its constants are fill, mean and std of each column of numbers.

    A fill that the description does not give is the median. Bounds and categories stay.
    """

    nothing_to_fit: ClassVar[str] = "a table without columns of numbers has no constants to fit"

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return TableScaling(self.spec.front_end)

    def parts(self) -> Sequence[Strict]:
        """Return the columns of numbers."""
        return [column for _, column in self.spec.front_end.numbers]

    def fit(self, items: Iterable[Tensor]) -> Sequence[Strict]:
        """See KindOfFrontEnd. NaN is a missing value."""
        batches = [batch.numpy() for batch in items]
        if not batches:
            raise ValueError("no rows to take mean and standard deviation from")
        rows = np.concatenate(batches).astype(np.float64)
        return [_fit_number(column, rows[:, place]) for place, column in self.spec.front_end.numbers]

    def with_parts(self, parts: Sequence[Strict]) -> TableInput:
        """See KindOfFrontEnd."""
        columns = list[Strict](self.spec.front_end.columns)
        for (place, _), column in zip(self.spec.front_end.numbers, parts, strict=True):
            columns[place] = column
        front_end = self.spec.front_end.model_copy(update={"columns": tuple(columns)})
        return self.spec.model_copy(update={"front_end": front_end})

    def table(self) -> Rows:
        """Return what is done to each column."""
        header = ("column", "missing is", "clipped to", "scale", "mean", "std")
        return [header, *map(_shown, self.spec.front_end.columns)]


def _fit_number(column: NumberColumn, values: NDArray[np.float64]) -> NumberColumn:
    present = values[~np.isnan(values)]
    if not len(present):
        raise ValueError(f"column {column.name!r} has no value in {len(values)} rows; leave it out, or give more rows")
    if not np.isfinite(present).all():
        raise ValueError(f"column {column.name!r} holds numbers that are not finite; leave them empty if they are missing")
    fill = column.fill if "fill" in column.model_fields_set else float(np.median(present))
    # As the network will see them: missing ones filled, or left out of the statistics.
    seen = present if fill is None else np.where(np.isnan(values), fill, values)
    clipped = np.clip(seen, column.lower, column.upper)
    scaled = np.log1p(clipped) if column.scale == "log1p" else clipped
    std = float(scaled.std()) if scaled.min() < scaled.max() else 1.0
    return column.model_copy(update={"fill": fill, "mean": float(scaled.mean()), "std": std})


def _shown(column: NumberColumn | CategoryColumn) -> tuple[str, ...]:
    if isinstance(column, CategoryColumn):
        names = ", ".join(column.categories[:_MOST_NAMES])
        more = ", ..." if len(column.categories) > _MOST_NAMES else ""
        return (column.name, "all 0", "", f"{len(column.categories)} names: {names}{more}", "", "")
    lower, upper = ("" if bound is None else f"{bound:g}" for bound in (column.lower, column.upper))
    clipped = f"{lower}..{upper}" if lower or upper else ""
    fill = "NaN" if column.fill is None else f"{column.fill:g}"
    return (column.name, fill, clipped, column.scale, f"{column.mean:g}", f"{column.std:g}")
