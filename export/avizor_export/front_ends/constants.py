"""Constants of a front end from training items: mean and std, and of a table's numbers the fill."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avizor_export.front_ends.build import build_front_end
from avizor_inference.items.inputs import AudioInput, ImageInput, NumberColumn, TableInput

WithFrontEnd = TypeVar("WithFrontEnd", AudioInput, ImageInput, TableInput)
Scaled = TypeVar("Scaled", AudioInput, ImageInput)


def fit_constants(spec: WithFrontEnd, items: Iterable[Tensor]) -> WithFrontEnd:
    """Return the same description with the constants that standardise these items.

    items: batches of raw training items [n, *item_shape]; of a table NaN where a value is missing. Mean and std are those of
    each channel of images, of each mel band of sound, and of each number of a table. There, a fill that the description does
    not give is the median; bounds and categories stay. What never changes keeps its own scale: its std is 1.
    Raises ValueError if there are no items, a column has no value, or a value is not finite.
    """
    return _fit_columns(spec, items) if isinstance(spec, TableInput) else _fit_bands(spec, items)


def _fit_bands(spec: Scaled, items: Iterable[Tensor]) -> Scaled:
    """Mean and std of each channel, or mel band, over the batches: one pass, sums in float64."""
    plain = spec.front_end.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    scale, of_images = build_front_end(spec.model_copy(update={"front_end": plain})), isinstance(spec, ImageInput)
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    with torch.inference_mode():
        for batch in items:
            values = scale(batch).double()  # of images [batch, channels, height, width], of sound [batch, 1, mels, frames]
            values = values.flatten(2) if of_images else values[:, 0]
            count += values.shape[0] * values.shape[2]
            total = total + values.sum(dim=(0, 2))
            squares = squares + (values * values).sum(dim=(0, 2))
    if count == 0:
        raise ValueError("no items to take mean and standard deviation from")
    mean = total / count
    std = torch.sqrt(torch.clamp(squares / count - mean * mean, min=0.0))
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise ValueError("the items hold values that are not finite, so that they have no mean and standard deviation")
    # What never changes is, for example, a band beyond the recording's bandwidth.
    std = torch.where(std < 1e-3, torch.ones_like(std), std)
    constants = {"mean": tuple(mean.float().tolist()), "std": tuple(std.float().tolist())}
    return spec.model_copy(update={"front_end": plain.model_copy(update=constants)})


def _fit_columns(spec: TableInput, items: Iterable[Tensor]) -> TableInput:
    batches = [batch.numpy() for batch in items]
    if not batches:
        raise ValueError("no rows to take mean and standard deviation from")
    rows = np.concatenate(batches).astype(np.float64)
    columns = tuple(
        _fit_number(column, rows[:, place]) if isinstance(column, NumberColumn) else column
        for place, column in enumerate(spec.front_end.columns)
    )
    return spec.model_copy(update={"front_end": spec.front_end.model_copy(update={"columns": columns})})


def _fit_number(column: NumberColumn, values: NDArray[np.float64]) -> NumberColumn:
    present = values[~np.isnan(values)]
    if not len(present):
        raise ValueError(f"column {column.name!r} has no value in {len(values)} rows; leave it out, or give more rows")
    if not np.isfinite(present).all():
        raise ValueError(f"column {column.name!r} holds numbers that are not finite; leave them empty if they are missing")
    fill = column.fill if "fill" in column.model_fields_set else float(np.median(present))
    # As the front end will see them: missing ones filled.
    clipped = np.clip(np.where(np.isnan(values), fill, values), column.lower, column.upper)
    scaled = np.log1p(clipped) if column.scale == "log1p" else clipped
    std = float(scaled.std()) if scaled.min() < scaled.max() else 1.0
    return column.model_copy(update={"fill": fill, "mean": float(scaled.mean()), "std": std})
