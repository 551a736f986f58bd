"""Draw a sheet of reconstructions as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.latent import LatentSheet
from avizor_inference.explain.pictures.figure import new_figure, png_of
from avizor_inference.items.input_spec import InputSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Empty space around each reconstruction, as a share of its width.
_GAP = 0.06

# Inches of the sheet's longer side.
_SIZE = 7.5


def draw_sheet(sheet: LatentSheet, spec: InputSpec, title: str) -> bytes:
    """Return the sheet as PNG: pictures, maps (bands by time), or curves, each in its place along the two directions."""
    rows, columns = len(sheet.y), len(sheet.x)
    figure = new_figure(_SIZE + 1, max(2.2, _SIZE * rows / columns) + 1)
    area = figure.subplots()
    tiles, is_picture = _tiles(sheet.reconstructions, spec)
    if tiles is None:
        _draw_curves(area, sheet.reconstructions.reshape(rows, columns, -1))
        area.set_aspect(1.0)
    else:
        flat = tiles.reshape(-1, *tiles.shape[2:]).astype(np.float64)
        low, high = (0.0, 255.0) if is_picture else (float(flat.min()), float(flat.max()))
        for row in range(rows):
            for column in range(columns):
                half = 0.5 - _GAP / 2
                extent = (column - half, column + half, row - half, row + half)
                tile = tiles[row, column]
                cmap = "gray" if is_picture else "viridis"
                shown = area.imshow(tile, extent=extent, cmap=cmap, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        area.set_aspect(1.0)
        if not is_picture:
            figure.colorbar(shown, ax=area, label="reconstruction, in the units that the network sees", shrink=0.7)
    area.set_xlim(-0.5, columns - 0.5)
    area.set_ylim(-0.5, rows - 0.5)
    area.set_xticks(range(columns), [f"{each:g}" for each in sheet.x])
    area.set_yticks(range(rows) if rows > 1 else [], [f"{each:g}" for each in sheet.y] if rows > 1 else [])
    area.set_xlabel(f"first direction, standard deviations ({sheet.shares[0]:.0%} of the variance)")
    if rows > 1:
        area.set_ylabel(f"second direction ({sheet.shares[1]:.0%})")
    area.set_title(title, loc="left", fontsize=11)
    return png_of(figure, dpi=110)


def _tiles(reconstructions: Array, spec: InputSpec) -> tuple[Array | None, bool]:
    """Return [rows, columns, h, w(, 3)] to draw, and whether they are pictures of 0 to 255; None for what is drawn as curves.

    Maps have their first row at the bottom, as frequency bands have.
    """
    rows, columns, *shape = reconstructions.shape
    items = reconstructions.reshape(rows * columns, *shape)
    try:
        picture_of = spec.to_picture()
    except InvalidInput:
        planes = [each for each in shape if each > 1]
        if len(planes) != 2:
            return None, False
        return reconstructions.reshape(rows, columns, *planes)[:, :, ::-1], False
    pictures = np.stack([picture_of(item) for item in items])
    pictures = pictures[..., 0] if pictures.shape[-1] == 1 else pictures
    return pictures.reshape(rows, columns, *pictures.shape[1:]), True


def _draw_curves(area: Axes, curves: Array) -> None:
    low, high = float(curves.min()), float(curves.max())
    scale = (1 - _GAP) / max(high - low, 1e-30)
    across = np.linspace(-0.5 + _GAP, 0.5 - _GAP, curves.shape[-1])
    for row, column in np.ndindex(curves.shape[:2]):
        area.plot(column + across, row - 0.5 + _GAP / 2 + (curves[row, column] - low) * scale, linewidth=0.8, color="#1f77b4")
