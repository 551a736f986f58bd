"""Compute to which size a picture is resized, and where the model's pixels begin in it. No pixel is touched here."""

from __future__ import annotations

from typing import Literal, Protocol

Fit = Literal["stretch", "shorter", "letterbox"]
Filter = Literal["bilinear", "bicubic", "nearest", "box", "hamming", "lanczos"]

Size = tuple[int, int]  # height, width in pixels


class PixelFormat(Protocol):
    """Describes the picture that a model takes, and how one of another size becomes it. See ImageInput."""

    height: int
    width: int
    channels: int
    resize: tuple[int, ...]
    fit: Fit
    filter: Filter
    antialias: bool
    pad: tuple[int, ...]


# Of the proportions: a smaller change comes from rounding a size to whole pixels, and nobody sees it.
_SEEN = 0.02


def distortion(size: Size, format: PixelFormat) -> str:
    """Return in words that a picture of this size loses its proportions when it is resized; "" if it keeps them."""
    if format.fit != "stretch":
        return ""
    height, width = _box(format)
    ratio = size[0] * width / (size[1] * height)
    return "" if abs(ratio - 1) <= _SEEN else f"stretched to {height} x {width} pixels from other proportions"


def resized_size(size: Size, format: PixelFormat) -> Size:
    """Return the size that a picture is resized to. `size`: that of the picture.

    The sizes are those of the libraries that networks are trained with. For `shorter` and one number it is torchvision's
    Resize(256), which rounds the longer side down. For a box or a letterbox it is timm's ResizeKeepRatio, which rounds to the
    nearest.
    """
    height, width = size
    box = _box(format)
    if format.fit == "stretch":
        return box
    if format.fit == "shorter" and len(format.resize) == 1:
        (shorter,) = format.resize
        longer = int(shorter * max(size) / min(size))
        return (shorter, longer) if height <= width else (longer, shorter)
    ratios = height / box[0], width / box[1]
    ratio = max(ratios) if format.fit == "letterbox" else min(ratios)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def first_pixel(size: int, wanted: int) -> int:
    """Return at which pixel of a side of `size` pixels its central `wanted` pixels begin.

    It is negative where the side is too short: minus the number of pixels that are padded before it. Both round as
    torchvision's CenterCrop does.
    """
    return round((size - wanted) / 2) if size > wanted else -((wanted - size) // 2)


def _box(format: PixelFormat) -> Size:
    """Return the height and width that `resize` names: one number means both, none those of the model's pixels."""
    if not format.resize:
        return format.height, format.width
    return format.resize[0], format.resize[-1]
