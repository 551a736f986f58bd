"""Hide places of a row whose places are values of its array: pixels, samples, columns."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Items

# Which places of a map are hidden: bool[h, w].
Mask = NDArray[np.bool_]
# Where the places of a map's axis begin among the indices of a dimension, and where the last one ends: int[places + 1].
Bounds = NDArray[np.intp]


class Cover(ABC):
    """Hides places of one row."""

    @abstractmethod
    def hide(self, mask: Mask, out: Items) -> None:
        """Write the row to `out`, [*item_shape], with these places of the map hidden."""


class ArrayCover(Cover):
    """Puts the values of `fill`, an array like the row, over the hidden places of the row.

    places: the first two dimensions of the row, as it is seen through `seen_as`, are the map's: [height, width, ...]; with
    `channels_first` the last two. y, x: which indices of them belong to each place of the map.
    """

    def __init__(self, row: Items, fill: Items, seen_as: tuple[int, ...], channels_first: bool, y: Bounds, x: Bounds) -> None:
        self._row = row
        self._seen_as, self._channels_first = seen_as, channels_first
        self._fill = self._seen(fill)
        self._y, self._x = y, x

    def hide(self, mask: Mask, out: Items) -> None:
        """See Cover. A box, as occlusion hides it, costs hardly more than the copy of the row."""
        out[...] = self._row
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        place = slice(self._y[box[0].start], self._y[box[0].stop]), slice(self._x[box[1].start], self._x[box[1].stop])
        hidden = mask[box]
        if hidden.all():
            self._seen(out)[place] = self._fill[place]
            return
        heights, widths = np.diff(self._y)[box[0]], np.diff(self._x)[box[1]]
        each = np.repeat(np.repeat(hidden, heights, axis=0), widths, axis=1)
        self._seen(out)[place][each] = self._fill[place][each]

    def _seen(self, array: Items) -> Items:
        view = array.reshape(self._seen_as)  # of a contiguous array: no copy
        return np.moveaxis(view, 0, -1) if self._channels_first else view
