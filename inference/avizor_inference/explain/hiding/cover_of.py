"""Make the cover of a row of any kind."""

from __future__ import annotations

import numpy as np

from avizor_inference.arrays import Floats, Items
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.heat_map import Axis
from avizor_inference.explain.hiding.cover import ArrayCover, Cover, Places, places_of
from avizor_inference.explain.hiding.fills import fill_array
from avizor_inference.explain.hiding.sound_cover import SoundCover
from avizor_inference.items.input_spec import AudioInput, InputSpec, SignalInput, TableInput, TensorInput


def cover_of(spec: InputSpec, row: Items, y: Axis, x: Axis, fill: str | float, size: float) -> Cover:
    """Return what hides places of a map with these axes in a row.

    fill: as chosen_fill returned it. size: of a patch, in pixels. The axes may be those of any map of the row. Raises
    InvalidInput if its places are none of the item itself.
    """
    if isinstance(spec, AudioInput):
        return SoundCover(row, fill, spec.sample_rate, _hertz_of(y), x.edges)
    values = fill_array(spec, row, fill, size)
    shape = _shape(spec, row.shape)
    channels_first = isinstance(spec, TensorInput) and len(shape) == 3
    height, width = shape[-2:] if channels_first else shape[:2]
    rate = spec.sample_rate or 1 if isinstance(spec, SignalInput) else 1
    return ArrayCover(row, values, shape, channels_first, _indices(y, height), _indices(x, width, rate))


def _hertz_of(axis: Axis) -> Floats | None:
    if axis.unit == "Hz":
        return axis.edges
    if len(axis.edges) > 2:
        raise InvalidInput("the rows of the map are no bands of frequency in Hz, so that they cannot be hidden in the waveform")
    return None


def _shape(spec: InputSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how the row is seen, so that its first two dimensions are those of the map."""
    if isinstance(spec, TableInput):
        return (*shape, 1)
    return (1, *shape) if len(shape) == 1 else shape


def _indices(axis: Axis, count: int, rate: float = 1.0) -> Places:
    return places_of(axis.edges, (np.arange(count) + 0.5) / rate)
