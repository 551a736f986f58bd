"""Judge a map: hide the places of a row in its order, and see how soon the model's answer falls, or comes back.

Deletion and insertion of Petsiuk, Das and Saenko: RISE, 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats
from avizor_inference.engines.base import Engine
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.hiding.batches import masked_batches
from avizor_inference.explain.hiding.cover import Mask
from avizor_inference.explain.hiding.cover_of import cover_of
from avizor_inference.explain.hiding.settings import chosen_fill
from avizor_inference.explain.target import target_values
from avizor_inference.repository.models import ModelVersion

# Places are hidden block by block, so that maps with many and with few places are judged alike, and so is a random order.
_BLOCKS, _BLOCKS_OF_A_LINE = 16, 64
_STEPS = 32
_RANDOM_ORDERS = 4
_ROWS_OF_FEW = 64  # so many blocks are hidden by chance, in more orders, where a row has few columns

_Order = NDArray[np.intp]  # of the blocks, from the first to be hidden to the last


@dataclass(frozen=True, eq=False)
class Curve:
    """Holds the target's value, float64[n], where each of these shares of the row's area, 0 to 1, is hidden or shown.

    auc: the area below it; of a score divided by the score of the row itself.
    """

    share: Floats
    values: Floats
    auc: float


@dataclass(frozen=True, eq=False)
class Curves:
    """Holds how the target changes with what the map calls important.

    deletion: the share is hidden, the most important places first; a low area is good. insertion: only the share is shown; a
    high area is good. The random ones are means over orders by chance, with the same blocks. fill: what hid the places.
    """

    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve
    fill: str


def curves(
    engine: Engine, version: ModelVersion, found: HeatMap, fill: str | float | None = None, timeout_s: float | None = None
) -> Curves:
    """Return the curves of a map of any kind, from at most ROWS_OF_CURVES rows.

    fill: what hides places, see FILLS. timeout_s: for each batch. Raises InvalidInput if the places of the map cannot be hidden
    in the item, and what Engine.infer raises.
    """
    spec, row = version.manifest.input, found.row
    chosen = chosen_fill(spec, fill)
    y, x = _block_axis(found.y, len(found.x.edges) > 2), _block_axis(found.x, len(found.y.edges) > 2)
    importance = _shares(y, found.y) @ found.values.astype(np.float64) @ _shares(x, found.x).T
    orders = [np.argsort(-importance, axis=None, kind="stable"), *_random_orders(importance.size)]
    cover = cover_of(spec, row, y, x, chosen, min(row.values.shape[:2]) / 2 if row.values.ndim > 1 else 1.0)
    batch = engine.spec(version.name, version.version).max_batch_size
    masks = (mask for order in orders for mask in _masks(order, importance.shape))
    rows = masked_batches(row.values, cover, masks, batch)
    wanted = None if found.target_unit == "score" else found.target
    _, values = target_values(engine, version, rows, wanted, timeout_s)
    unit = values[0] if found.target_unit == "score" and values[0] else 1.0
    areas = np.outer(np.diff(y.edges), np.diff(x.edges)).ravel()
    pairs = [
        _pair(values[0], each, areas[order] / areas.sum(), unit)
        for order, each in zip(orders, values[1:].reshape(len(orders), 2, -1), strict=True)
    ]
    deletion, insertion = pairs[0]
    random_deletion, random_insertion = (_mean(each, unit) for each in zip(*pairs[1:], strict=True))
    return Curves(deletion, insertion, random_deletion, random_insertion, str(chosen))


# The row itself, and for each order as many copies with places hidden as with places shown.
ROWS_OF_CURVES = 1 + 2 * _STEPS * (1 + _RANDOM_ORDERS)


def _block_axis(axis: Axis, other_has_several: bool) -> Axis:
    """Return an axis of few equal blocks over the same extent; of bands as equal as the map's own are."""
    if axis.names or len(axis.edges) == 2:
        return axis
    most = _BLOCKS if other_has_several else _BLOCKS_OF_A_LINE
    places = len(axis.edges) - 1
    if axis.unit == "Hz":
        return Axis(np.interp(np.linspace(0, places, most + 1), np.arange(places + 1), axis.edges), "Hz")
    edges = np.linspace(axis.edges[0], axis.edges[-1], most + 1)
    return Axis(np.unique(np.rint(edges)) if axis.unit in ("pixels", "") else edges, axis.unit)


def _shares(blocks: Axis, places: Axis) -> Floats:
    """Return which share of each block each place of the map has: float64[blocks, places]."""
    low = np.maximum(blocks.edges[:-1, None], places.edges[None, :-1])
    high = np.minimum(blocks.edges[1:, None], places.edges[None, 1:])
    overlap = np.maximum(high - low, 0)
    return np.asarray(overlap / np.diff(blocks.edges)[:, None])


def _random_orders(count: int) -> list[_Order]:
    rng = np.random.default_rng(0)
    orders = max(_RANDOM_ORDERS, _ROWS_OF_FEW // count)
    return [rng.permutation(count) for _ in range(orders)]


def _steps(count: int) -> NDArray[np.intp]:
    """Return after how many blocks the target is measured, the last time after all."""
    return np.unique(np.rint(np.linspace(0, count, min(count, _STEPS) + 1)).astype(np.intp))[1:]


def _masks(order: _Order, shape: tuple[int, ...]) -> Iterator[Mask]:
    """Yield what is hidden at each step: for deletion from few blocks to all, for insertion from all blocks to few."""
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    steps = _steps(len(order))
    yield from ((rank < step).reshape(shape) for step in steps)
    yield from ((rank >= step).reshape(shape) for step in (0, *steps[:-1]))


def _pair(whole: float, values: Floats, areas: Floats, unit: float) -> tuple[Curve, Curve]:
    """Return the curves of deletion and insertion for one order. whole: the target of the row itself. areas: in that order."""
    share = np.concatenate([[0.0], np.cumsum(areas)[_steps(len(areas)) - 1]])
    deletion, insertion = np.concatenate([[whole], values[0]]), np.concatenate([values[1], [whole]])
    return _curve(share, deletion, unit), _curve(share, insertion, unit)


def _curve(share: Floats, values: Floats, unit: float) -> Curve:
    return Curve(share, values, float(((values[1:] + values[:-1]) / 2 * np.diff(share)).sum() / unit))  # trapezia


def _mean(each: tuple[Curve, ...], unit: float) -> Curve:
    share = np.linspace(0, 1, len(each[0].share))
    return _curve(share, np.mean([np.interp(share, one.share, one.values) for one in each], axis=0), unit)
