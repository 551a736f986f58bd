"""Hold one normal item of a calibration, with everything that the model sees of it."""

from __future__ import annotations

from dataclasses import dataclass

from avizor_inference.arrays import Items


@dataclass(frozen=True)
class NormalRecording:
    """Holds a normal item (a recording, an image or a row): its source, and everything that the model sees of it.

    windows: the windows of all channels of a recording, or the one image or row: [windows, *item_shape], in the element type of
    the model's input. is_short: whether the item is a recording shorter than the model's window, which was padded with zeros.
    """

    source: str
    windows: Items
    is_short: bool = False
