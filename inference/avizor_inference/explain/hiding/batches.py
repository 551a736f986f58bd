"""Make the masked copies of a row in batches, while the model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from avizor_inference.arrays import Items
from avizor_inference.explain.hiding.cover import Cover, Mask


def masked_batches(row: Items, cover: Cover, masks: Iterable[Mask], size: int) -> Iterator[Items]:
    """Yield the row and a copy of it for each mask, in batches of `size` rows; the last one may have fewer."""
    batch, used = np.empty((size, *row.shape), row.dtype), 1
    batch[0] = row
    for mask in masks:
        if used == size:
            yield batch
            batch, used = np.empty_like(batch), 0  # the engine may still read the one before
        cover.hide(mask, batch[used])
        used += 1
    yield batch[:used]
