"""Hide places of a row whose places are values of its array: pixels, samples, columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats, Items

# Which places of a map are hidden: bool[h, w].
Mask = NDArray[np.bool_]


class Cover(ABC):
    """Hides places of one row."""

    @abstractmethod
    def hide(self, mask: Mask, out: Items) -> None:
        """Write the row to `out`, [*item_shape], with these places of the map hidden."""


class ArrayCover(Cover):
    """Puts the values of `fill`, an array like the row, over the hidden places of the row.

    places: the first two dimensions of the row, as it is seen through `seen_as`, are the map's: [height, width, ...].
    y, x: of each index of these dimensions, the place of the map that it belongs to; the number of places where to none.
    """

    def __init__(self, row: Items, fill: Items, seen_as: tuple[int, ...], channels_first: bool, y: Places, x: Places) -> None:
        self._row, self._fill = row, self._seen(fill, seen_as, channels_first)
        self._seen_as, self._channels_first = seen_as, channels_first
        self._y, self._x = y, x

    def hide(self, mask: Mask, out: Items) -> None:
        """See Cover."""
        out[...] = self._row
        hidden = with_outside(mask)[self._y][:, self._x]
        self._seen(out, self._seen_as, self._channels_first)[hidden] = self._fill[hidden]

    @staticmethod
    def _seen(array: Items, seen_as: tuple[int, ...], channels_first: bool) -> Items:
        view = array.view()
        view.shape = seen_as  # never a copy
        return np.moveaxis(view, 0, -1) if channels_first else view


# Of each index of a dimension, the place of a map's axis that it belongs to: int[n].
Places = NDArray[np.intp]


def places_of(edges: Floats, positions: NDArray[np.floating[Any]]) -> Places:
    """Return the place, from 0, that each position belongs to; the number of places where it is outside of all."""
    places = np.searchsorted(edges, positions, side="right") - 1
    return np.where(places < 0, len(edges) - 1, np.minimum(places, len(edges) - 1))


def with_outside(mask: Mask) -> Mask:
    """Return the mask with one more row and column, of what is outside the map and never hidden."""
    return np.pad(mask, ((0, 1), (0, 1)))
