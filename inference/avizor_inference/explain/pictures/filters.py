"""Draw filters side by side, each scaled by itself: colours, grey tiles, or curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.explain.filter_axes import FilterPictures, scaled
from avizor_inference.explain.pictures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

# What one picture shows at most; the numbers are all in the .npz file.
MOST_FILTERS = 64
MOST_CHANNELS = 8
_MOST_TILES = 64
MOST_FEATURES = 60
# Space between tiles, as a share of a tile.
_GAP = 0.3


def filters_shown(pictures: FilterPictures) -> tuple[int, int]:
    """Return how many filters, and how many input channels of each, a picture shows."""
    filters, channels = pictures.values.shape[:2]
    if pictures.is_colour:
        return min(filters, MOST_FILTERS), channels
    shown = min(channels, MOST_CHANNELS)
    return min(filters, MOST_FILTERS, _MOST_TILES // shown), shown


def draw_filters(pictures: FilterPictures, noise: Floats, title: str) -> Figure:
    """Return a figure with a tile for each filter, or for each of its input channels. noise: of each filter, NaN if unknown."""
    filters, channels = filters_shown(pictures)
    values = scaled(pictures.values)[:filters, :channels]
    tiles_of_one = 1 if pictures.is_colour or channels == 1 else channels
    columns = tiles_of_one if tiles_of_one > 1 else min(8, filters)
    if tiles_of_one > 1:  # several filters side by side, each with its channels
        columns *= max(1, min(filters, 8 // tiles_of_one))
    rows = math.ceil(filters * tiles_of_one / columns)
    aspect = _aspect(pictures)
    width = 1.05 * columns
    height = width / (columns * (1 + _GAP / 2)) * rows * (aspect + _GAP)
    figure = new_figure(max(4.0, width + 1), max(2.6, height + 1.2))
    axes = figure.subplots()
    for index in range(filters * tiles_of_one):
        left, top = (index % columns) * (1 + _GAP / 2), (index // columns) * (aspect + _GAP)
        row, channel = divmod(index, tiles_of_one)
        tile = np.moveaxis(values[row], 0, -1) / 2 + 0.5 if pictures.is_colour else values[row, channel]
        _draw_tile(axes, tile, left, top, aspect, pictures)
        axes.text(left, top - 0.03, _caption(row, channel, noise[row], pictures, tiles_of_one), fontsize=7, va="bottom")
    _label_axes(axes, pictures, columns, rows, aspect)
    axes.set_title(title, fontsize=9, loc="left")
    return figure


def draw_matrix(weights: Floats, features: Sequence[str], title: str) -> Figure:
    """Return a figure of the first layer over a table's columns: weights[units, features], each unit scaled by itself."""
    shown = scaled(weights)[:MOST_FILTERS, :MOST_FEATURES]
    units, columns = shown.shape
    figure = new_figure(max(4.0, 0.25 * columns + 2), max(3.0, 0.18 * units + 2))
    axes = figure.subplots()
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [name[:24] for name in features[:columns]], rotation=90, fontsize=7)
    axes.set_ylabel("unit of the first layer")
    axes.set_title(title, fontsize=9, loc="left")
    figure.colorbar(image, label="weight / largest weight of the unit")
    return figure


def _aspect(pictures: FilterPictures) -> float:
    """Return the height of a tile whose width is 1: the weights are square, but no tile is thinner than a third."""
    if pictures.y is None:
        return 0.7
    height, width = pictures.values.shape[2:]
    return float(np.clip(height / width, 1 / 3, 3))


def _draw_tile(axes: Axes, tile: Floats, left: float, top: float, aspect: float, pictures: FilterPictures) -> None:
    if pictures.y is None:
        axes.add_patch(_frame(left, top, aspect))
        middle = top + aspect / 2
        axes.plot([left, left + 1], [middle, middle], color="0.8", linewidth=0.5, zorder=1)
        steps = left + (np.arange(len(tile)) + 0.5) / len(tile)
        marker = "." if len(tile) <= 16 else None
        axes.plot(steps, middle - tile * aspect / 2 * 0.95, color="C0", linewidth=0.8, marker=marker, markersize=3, zorder=2)
        return
    if pictures.starts_below:
        tile = tile[::-1]
    extent = (left, left + 1, top + aspect, top)
    axes.imshow(tile, cmap="gray", vmin=-1, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
    axes.add_patch(_frame(left, top, aspect))


def _frame(left: float, top: float, aspect: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), 1, aspect, fill=False, linewidth=0.4, edgecolor="0.5")


def _caption(row: int, channel: int, noise: float, pictures: FilterPictures, tiles_of_one: int) -> str:
    if tiles_of_one > 1 and channel:
        return pictures.channels[channel] if pictures.channels else f".{channel}"
    name = f" {pictures.channels[0]}" if tiles_of_one > 1 and pictures.channels else ""
    return f"{row}{name}" + ("" if math.isnan(noise) else f": {noise:.2f}")


def _label_axes(axes: Axes, pictures: FilterPictures, columns: int, rows: int, aspect: float) -> None:
    """Write at the tiles of the left and the lower border how much of the axes one filter covers."""
    axes.set_xlim(-0.05, columns * (1 + _GAP / 2))
    axes.set_ylim(rows * (aspect + _GAP) - _GAP + 0.05, -_GAP)
    axes.set_aspect("equal")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    # Numbers at the first tile alone: at each, those of two tiles would run into each other.
    places = [column * (1 + _GAP / 2) + edge for column in range(columns) for edge in (0, 1)]
    axes.set_xticks(places, ["0", f"{pictures.x.extent:.4g}", *[""] * (2 * columns - 2)], fontsize=7)
    axes.set_xlabel(pictures.x.unit, fontsize=8)
    if pictures.y is None:
        axes.set_yticks([])
        axes.set_ylabel("weight / largest weight", fontsize=8)
        return
    edges = (aspect, 0) if pictures.starts_below else (0, aspect)
    places = [row * (aspect + _GAP) + edge for row in range(rows) for edge in edges]
    axes.set_yticks(places, ["0", f"{pictures.y.extent:.4g}"] * rows, fontsize=7)
    axes.set_ylabel(pictures.y.unit, fontsize=8)
