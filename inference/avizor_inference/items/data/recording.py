"""Hold one normal item of a calibration, with everything that the model sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from avizor_inference.arrays import Items


@dataclass(frozen=True)
class NormalRecording:
    """Holds a normal item (a recording, an image or a row): its source, and everything that the model sees of it.

    windows: the windows of all channels of a recording, or the one image or row: [windows, *item_shape], in the element type of
    the model's input. is_short: whether the item is a recording shorter than the model's window, which was padded with zeros.
    name: of its file, without folders; in a file of many, its name there without folders, or its number from 0; "" if unknown.
    """

    source: str
    windows: Items
    is_short: bool = False
    name: str = ""

    @property
    def digest(self) -> int:
        """Return 64 bits that stand for the item, wherever its folder is: of its name and of all that the model sees of it.

        The name is part of it, since many rows of a table may be equal and yet be different items.
        """
        digest = blake2b(self.name.encode(errors="surrogateescape"), digest_size=8)
        for window in self.windows:
            digest.update(np.ascontiguousarray(window).data)
        return int.from_bytes(digest.digest(), "little")
