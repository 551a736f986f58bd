"""The table front end as a torch module, and its constants from training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avizor_inference.items.inputs import NumberColumn, TableFrontEnd, TableInput

# float32's own limits stand for "not clipped".
_LEAST, _MOST = (float(bound) for bound in (np.finfo(np.float32).min, np.finfo(np.float32).max))


class TableScaling(nn.Module):
    """float32[batch, columns], NaN where missing -> float32[batch, features], see TableFrontEnd.

    Numbers: filled where missing, clipped, scaled, standardised. Categories: one-hot, all 0 where missing or unknown.
    """

    places: Tensor
    logs: Tensor
    fill: Tensor
    lower: Tensor
    upper: Tensor
    mean: Tensor
    std: Tensor
    category_places: Tensor
    codes: Tensor

    def __init__(self, parameters: TableFrontEnd) -> None:
        super().__init__()
        numbers = [column for _, column in parameters.numbers]
        self._any_log = any(column.scale == "log1p" for column in numbers)
        self._register("places", [place for place, _ in parameters.numbers], torch.int64)
        self._register("logs", [column.scale == "log1p" for column in numbers], torch.bool)
        self._register("fill", [column.fill for column in numbers])
        self._register("lower", [_LEAST if column.lower is None else column.lower for column in numbers])
        self._register("upper", [_MOST if column.upper is None else column.upper for column in numbers])
        self._register("mean", [column.mean for column in numbers])
        self._register("std", [column.std for column in numbers])
        ones = [(place, code) for place, column in parameters.categories for code in range(len(column.categories))]
        self._register("category_places", [place for place, _ in ones], torch.int64)
        self._register("codes", [float(code) for _, code in ones])

    def _register(self, name: str, values: Sequence[float], dtype: torch.dtype = torch.float32) -> None:
        # Not part of the state dict: the parameters are in the manifest.
        self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    def forward(self, record: Tensor) -> Tensor:
        """Numbers first, then categories."""
        parts = []
        if len(self.places):
            parts.append(self._numbers(record[:, self.places]))
        if len(self.codes):
            # NaN equals nothing, so a missing name is no name.
            parts.append((record[:, self.category_places] == self.codes).float())
        return torch.cat(parts, dim=1)

    def _numbers(self, values: Tensor) -> Tensor:
        filled = torch.where(torch.isnan(values), self.fill, values)
        clipped = torch.minimum(torch.maximum(filled, self.lower), self.upper)
        if self._any_log:
            # Where the logarithm is not taken its argument is 0, so that no NaN is computed and thrown away.
            zero = torch.zeros_like(clipped)
            clipped = torch.where(self.logs, torch.log1p(torch.where(self.logs, clipped, zero)), clipped)
        return (clipped - self.mean) / self.std


def fitted(spec: TableInput, rows: NDArray[np.float32]) -> TableInput:
    """The same description with mean and std of each number taken from training rows; where no fill is given it is the median.

    rows: float32[n, columns], NaN where missing. Bounds and categories stay as they are declared. Raises ValueError if a column
    has no value, or one that is not finite.
    """
    columns = []
    for place, column in enumerate(spec.front_end.columns):
        columns.append(_fitted(column, rows[:, place].astype(np.float64)) if isinstance(column, NumberColumn) else column)
    return spec.model_copy(update={"front_end": spec.front_end.model_copy(update={"columns": tuple(columns)})})


def _fitted(column: NumberColumn, values: NDArray[np.float64]) -> NumberColumn:
    present = values[~np.isnan(values)]
    if not len(present):
        raise ValueError(f"column {column.name!r} has no value in {len(values)} rows; leave it out, or give more rows")
    if not np.isfinite(present).all():
        raise ValueError(f"column {column.name!r} holds numbers that are not finite; leave them empty if they are missing")
    fill = column.fill if "fill" in column.model_fields_set else float(np.median(present))
    # As the front end will see them: missing ones filled.
    clipped = np.clip(np.where(np.isnan(values), fill, values), column.lower, column.upper)
    scaled = np.log1p(clipped) if column.scale == "log1p" else clipped
    # A column that never changes is left at its own scale.
    std = float(scaled.std()) if scaled.min() < scaled.max() else 1.0
    return column.model_copy(update={"fill": fill, "mean": float(scaled.mean()), "std": std})
