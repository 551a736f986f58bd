"""Slide a window along one axis of a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.heat_map import Axis, Unit

# Rows that one map may cost. A pixel at a time over 224 x 224 is below it.
MAX_COPIES = 65_536


@dataclass(frozen=True, eq=False)
class Slide:
    """Holds the windows along one axis: window i covers from starts[i] to stops[i], in the unit.

    names: of the windows, where each is one column or channel.
    """

    starts: Floats
    stops: Floats
    unit: Unit = ""
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def axis(self) -> Axis:
        """Return the axis whose places are the parts that all windows cover or leave whole."""
        return Axis(np.unique(np.concatenate([self.starts, self.stops])), self.unit, self.names)

    def places(self) -> list[slice]:
        """Return the places of `axis` that each window covers."""
        edges = self.axis.edges
        first, last = np.searchsorted(edges, self.starts), np.searchsorted(edges, self.stops)
        return [slice(*each) for each in zip(first.tolist(), last.tolist(), strict=True)]

    def divided(self, rate: float, unit: Unit) -> Slide:
        """Return the same windows in another unit, of which one has `rate` of this one."""
        return Slide(self.starts / rate, self.stops / rate, unit)


def slide(extent: float, size: float, stride: float, unit: Unit, noun: str, begin: float = 0.0) -> Slide:
    """Return the windows of `size` that begin at every `stride` from `begin` on, until the `extent` is covered.

    The last one is clipped at the end, as captum's Occlusion does it. noun: the axis in messages. Raises InvalidInput for a
    size or a stride that is not above 0, is over the extent, or leaves places between the windows.
    """
    whole = f"{extent:g} {unit}".strip()
    if not (0 < size <= extent):
        raise InvalidInput(
            f"size {size:g} {unit} does not fit the {noun} of {whole}; give a number above 0, at most {extent:g}"
        )
    if not (0 < stride < math.inf):
        raise InvalidInput(f"stride {stride:g} {unit} is not a number above 0; give one up to the size, {size:g}")
    if stride > size and size < extent:
        raise InvalidInput(
            f"stride {stride:g} {unit} is over the size {size:g}, so that places between the windows are never hidden; "
            f"give a stride of at most {size:g}"
        )
    count = math.ceil((extent - size) / stride - 1e-9) + 1 if (extent - size) / stride < math.inf else math.inf
    if count > MAX_COPIES:
        raise InvalidInput(too_many(count))
    starts = np.arange(int(count), dtype=np.float64) * stride
    stops = np.minimum(starts + size, extent)
    # Rounded, so that the end of one window and the beginning of another are the same number where they should be.
    return Slide(np.round(begin + starts, 6), np.round(begin + stops, 6), unit)


def one_by_one(count: int, names: tuple[str, ...]) -> Slide:
    """Return a window for each of so many columns or channels."""
    starts = np.arange(float(count))
    return Slide(starts, starts + 1, "", names)


def too_many(count: float) -> str:
    """Return the message for a map that costs more rows than are allowed."""
    return f"the map needs {count:,.0f} masked copies, and at most {MAX_COPIES:,} are run; give a larger stride"
