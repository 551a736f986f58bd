"""Turn numbers into pixels: averages over areas, colours, and small PNG files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avizor_inference.arrays import Array, Floats, Pixels

# Colours of an error from none to the largest: violet, red, orange, yellow. Even to the eye, and clear over grey.
_ANCHORS = np.array([(106, 23, 110), (164, 44, 96), (216, 70, 60), (246, 120, 25), (252, 180, 24), (250, 240, 110)], float)
_LEVELS = 64
_MOST_ALPHA = 215

# The largest side of a picture in pixels, and up to how many bytes it stays a PNG.
_MOST_SIDE = 512
_MOST_PNG = 64 * 2**10


def area_means(values: Array, edges: Floats, wanted: Floats, axis: int) -> Floats:
    """Return the means of `values` over the intervals of `wanted`, along one axis. The places of `values` lie between `edges`.

    edges, wanted: ascending, one more than there are places. What is beyond the edges counts as the nearest place.
    """
    moved = np.moveaxis(np.asarray(values, np.float64), axis, -1)
    total = np.concatenate([np.zeros((*moved.shape[:-1], 1)), np.cumsum(moved * np.diff(edges), axis=-1)], axis=-1)
    inside = np.clip(wanted, edges[0], edges[-1])
    place = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(edges) - 2)
    at = total[..., place] + moved[..., place] * (inside - edges[place])
    widths = np.diff(inside)
    middles = np.clip((wanted[1:] + wanted[:-1]) / 2, edges[0], edges[-1])
    nearest = moved[..., np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, len(edges) - 2)]
    means = np.where(widths > 0, np.diff(at, axis=-1) / np.where(widths > 0, widths, 1), nearest)
    return np.asarray(np.moveaxis(means, -1, axis))


def grey_png(shares: Array) -> bytes:
    """Return a PNG of float[height, width] in 0..1, from black to white."""
    levels = np.rint(np.clip(shares, 0, 1) * (_LEVELS - 1)) * (255 / (_LEVELS - 1))
    return _png(Image.fromarray(np.rint(levels).astype(np.uint8)))


def overlay_png(errors: Array, largest: float | None = None) -> bytes:
    """Return a PNG of float[height, width] >= 0 that is laid over a picture: clear where there is no error.

    largest: the error with the strongest colour; None for the largest of these.
    """
    top = largest or float(np.max(errors)) or 1.0
    levels = np.rint(np.sqrt(np.clip(np.nan_to_num(errors) / top, 0, 1)) * (_LEVELS - 1)).astype(np.uint8)
    image = Image.fromarray(levels, mode="P")
    shares = np.linspace(0, 1, _LEVELS)
    anchors = np.linspace(0, 1, len(_ANCHORS))
    palette = np.stack([np.interp(shares, anchors, _ANCHORS[:, colour]) for colour in range(3)], axis=1)
    image.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    return _png(image, transparency=bytes(np.rint(shares * _MOST_ALPHA).astype(np.uint8)))


def picture_bytes(pixels: Pixels) -> bytes:
    """Return uint8[height, width, 3] as a PNG, or as a JPEG if that would be large; at most 512 pixels on a side."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_MOST_SIDE, _MOST_SIDE))
    png = _png(image)
    if len(png) <= _MOST_PNG:
        return png
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return min(png, buffer.getvalue(), key=len)


def lines_png(values: Floats, width: int, height: int) -> bytes:
    """Return a PNG of the channels of a signal, values[channels, samples], one below the other, each scaled by itself."""
    strip = max(8, height // len(values))
    canvas = np.ones((strip * len(values), width))
    columns = np.linspace(0, values.shape[1], width + 1).astype(int)
    for place, channel in enumerate(values):
        low, high = float(channel.min()), float(channel.max())
        scaled = (high - channel) / (high - low) if high > low else np.full_like(channel, 0.5)
        for column in range(width):
            first = min(columns[column], len(channel) - 1)
            part = scaled[max(0, first - 1) : max(columns[column + 1], first + 1)]
            top, bottom = part.min() * (strip - 4), part.max() * (strip - 4)
            canvas[place * strip + 1 + int(top) : place * strip + 2 + int(np.ceil(bottom)), column] = 0
    return grey_png(canvas)


def _png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()


def of_background(decibels: NDArray[np.float32]) -> Floats:
    """Return shares 0..1 of decibels below the loudest, -80 to 0. Quiet places are darker than their share."""
    return np.asarray(np.clip(1 + decibels / 80, 0, 1) ** 1.5, np.float64)
