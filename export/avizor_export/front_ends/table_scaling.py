"""Compute the table front end in a torch module."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from avizor_inference.items.input_spec import TableFrontEnd

# float32's own limits stand for "not clipped".
_LEAST, _MOST = (float(bound) for bound in (np.finfo(np.float32).min, np.finfo(np.float32).max))


class TableScaling(nn.Module):
    """Computes float32[batch, columns], NaN where missing -> float32[batch, features], see TableFrontEnd.

    Numbers are filled where missing (or left NaN), clipped, scaled, standardised. Categories are one-hot, all 0 where missing
    or unknown.
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
        self._register("fill", [math.nan if column.fill is None else column.fill for column in numbers])
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
        """Compute the features: numbers first, then categories."""
        parts = []
        if len(self.places):
            parts.append(self._numbers(record[:, self.places]))
        if len(self.codes):
            # NaN equals nothing, so that a missing name has only zeros.
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
