"""Make the cover of a row of any kind."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.heat_map import Axis
from avizor_inference.explain.hiding.cover import ArrayCover, Bounds, Cover
from avizor_inference.explain.hiding.fills import fill_array
from avizor_inference.explain.hiding.sound_cover import SoundCover
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput, InputSpec, SignalInput, TableInput, TensorInput


def cover_of(spec: InputSpec, row: RawRow, y: Axis, x: Axis, fill: str | float, size: float) -> Cover:
    """Return what hides places of a map with these axes in a row.

    fill: as chosen_fill returned it. size: of a patch, in pixels. The axes may be those of any map of the row. Raises
    InvalidInput if its places are none of the item itself.
    """
    if isinstance(spec, AudioInput):
        return SoundCover(row.values, fill, spec.sample_rate, _hertz_of(y), x.edges - start_of(spec, row))
    if isinstance(spec, TableInput) and x.names != spec.columns:
        raise InvalidInput("the places of the map are no columns of the row, so that they cannot be hidden")
    values = fill_array(spec, row.values, fill, size)
    shape = row.values.shape if row.values.ndim > 1 else (1, *row.values.shape)
    channels_first = isinstance(spec, TensorInput) and len(shape) == 3
    height, width = shape[-2:] if channels_first else shape[:2]
    rate = float(spec.sample_rate or 1) if isinstance(spec, SignalInput) else 1.0
    columns = Axis(x.edges - start_of(spec, row))
    return ArrayCover(row.values, values, shape, channels_first, _bounds(y, height), _bounds(columns, width, rate))


def start_of(spec: InputSpec, row: RawRow) -> float:
    """Return where the row begins in its sound or signal, in the unit of the axis of time; 0 for all else."""
    if row.span is None or not isinstance(spec, AudioInput | SignalInput):
        return 0.0
    return row.span.start_sample / float(spec.sample_rate or 1)


def _hertz_of(axis: Axis) -> Floats | None:
    if axis.unit == "Hz":
        return axis.edges
    if len(axis.edges) > 2:
        raise InvalidInput("the rows of the map are no bands of frequency in Hz, so that they cannot be hidden in the waveform")
    return None


def _bounds(axis: Axis, count: int, rate: float = 1.0) -> Bounds:
    """Return which indices belong to each place: those whose middle is in it."""
    return np.searchsorted((np.arange(count) + 0.5) / rate, axis.edges)
