"""Make what is put over hidden places of images, signals, rows of a table and plain tensors: an array like the row."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Array, Floats, Items
from avizor_inference.items.input_spec import ImageInput, InputSpec, NumberColumn, SignalInput, TableInput


def fill_array(spec: InputSpec, row: Items, fill: str | float, size: float) -> Items:
    """Return the values that hide, in the shape and type of the row. size: of a patch of an image, in pixels, for its blur."""
    if isinstance(spec, TableInput):
        return _usual_row(spec) if fill == "usual" else np.full(row.shape, np.nan, row.dtype)
    return np.ascontiguousarray(np.broadcast_to(_rounded(_values(spec, row, fill, size), row), row.shape))


def _values(spec: InputSpec, row: Items, fill: str | float, size: float) -> Floats:
    """Return the values before they are rounded, in a shape that broadcasts to the row."""
    if not isinstance(fill, str):
        return np.array(fill)
    if fill == "blur":
        return _blurred(row, size / 2)
    if fill == "usual":
        return spec.usual_values()[0]
    if fill == "mean":
        axes = {ImageInput: (0, 1), SignalInput: (1,)}.get(type(spec))
        return np.asarray(row.mean(axis=axes, keepdims=True, dtype=np.float64))
    return np.zeros(())  # black, zero


def _rounded(values: Floats, row: Items) -> Array:
    whole = np.issubdtype(row.dtype, np.integer)
    return (np.rint(values) if whole else values).astype(row.dtype)


def _blurred(image: Items, radius: float) -> Floats:
    """Return the image without what is smaller than a patch: a Gaussian blur of each channel, its radius in pixels."""
    from PIL import Image, ImageFilter  # not loaded for what is no image

    blur = ImageFilter.GaussianBlur(radius)
    channels = [np.asarray(Image.fromarray(channel).filter(blur)) for channel in np.moveaxis(image, 2, 0)]
    return np.stack(channels, axis=2).astype(np.float64)


def _usual_row(spec: TableInput) -> Items:
    """Return the usual value of each column: the mean of a number's front end in its own unit, and a name as missing.

    The front end does not know how often a name is seen.
    """
    values = [_usual_number(each) if isinstance(each, NumberColumn) else np.nan for each in spec.front_end.columns]
    return np.array(values, dtype=np.float32)


def _usual_number(column: NumberColumn) -> float:
    value = np.expm1(column.mean) if column.scale == "log1p" else column.mean
    return float(np.clip(value, column.lower, column.upper)) if column.lower is not None or column.upper is not None else value
