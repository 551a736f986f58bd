"""Look at pictures, and choose size and channels for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.kinds.base import Chosen, KindToFit, Wanted
from avizor_inference.items.dataset import Entry
from avizor_inference.items.images import FORMATS, image_errors
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.items.kinds.base import Content, FileContent

LARGEST = 96  # pixels of the longer side
_SIDE = 4  # the network halves the sides; a multiple of it loses none at the first two halvings
_MANY_SIZES = 10
_ALIKE = 1.25  # sides up to so many times as long show a part about as large
# Proportions that differ by more are kept, with borders around the picture.
_STRETCH = 0.05
_COLOUR = 8  # of 255: channels that differ by less are grey


class ImagesToFit(KindToFit):
    """See KindToFit."""

    modality, plural = "image", "images"

    def __init__(self) -> None:
        self.sizes, self.is_grey = Counter[tuple[int, int]](), list[bool]()
        self.kinds, self.examples = Counter[str](), dict[str, str]()

    def look(self, entry: Entry, content: Content) -> None:
        """See KindToFit."""
        assert isinstance(content, FileContent)
        with content.open() as file, image_errors(file), Image.open(file, formats=FORMATS) as image:
            self.sizes[(image.height, image.width)] += 1
            mode = image.mode
            image.draft("RGB", (64, 64))
            small = np.asarray(image.convert("RGB").resize((32, 32)), dtype=np.int16)
        self.is_grey.append(bool((small.max(axis=2) - small.min(axis=2)).max() < _COLOUR))
        if kind := "in colour" if not self.is_grey[-1] else _kind_of_grey(mode):
            self.kinds[kind] += 1
            self.examples.setdefault(kind, entry.uri)

    def warnings(self) -> Iterator[str]:
        """See KindToFit."""
        sides = np.array(list(self.sizes.elements()))
        low, high = sides.min(axis=0), sides.max(axis=0)
        if len(self.sizes) > _MANY_SIZES and (high > _ALIKE * low).any():
            yield (
                f"the pictures have {len(self.sizes)} sizes, from {low[1]} x {low[0]} to {high[1]} x {high[0]}, and all become "
                "one; a part that fills one picture is small in another, so crop them to what is to be judged if you can"
            )
        if len(self.kinds) > 1:
            kinds = "; ".join(f"{count} {kind}, such as {self.examples[kind]}" for kind, count in self.kinds.most_common())
            yield (
                f"the pictures are of several kinds ({kinds}), in which the same thing looks different; fit those of one kind "
                "by themselves, or save all alike"
            )

    def choose(self, wanted: Wanted) -> Chosen:
        """See KindToFit."""
        sides = np.array(list(self.sizes.elements()), dtype=float)
        height, width = np.median(sides, axis=0)
        size = wanted.size or _fitted(float(height), float(width))
        shown = f"{size[1]} x {size[0]}"
        grey = float(np.mean(self.is_grey))
        channels = 1 if grey == 1 else 3
        proportions = sides[:, 1] / sides[:, 0]
        spread = float(np.abs(np.log(proportions / np.median(proportions))).max())
        fit: Literal["stretch", "letterbox"] = "letterbox" if spread > _STRETCH else "stretch"
        choices = (
            Choice.given("size", shown) if wanted.size else Choice("size", shown, self._why(size, height, width)),
            Choice(
                "channels",
                "1, grey" if channels == 1 else "3, colour",
                "no picture has colour" if channels == 1 else f"{1 - grey:.0%} of the pictures have colour",
            ),
            Choice(
                "fit",
                fit,
                "all pictures have about the same proportions" if fit == "stretch" else "proportions differ, and are kept",
            ),
        )
        return Chosen(ImageInput(height=size[0], width=size[1], channels=channels, fit=fit), choices)

    def _why(self, size: tuple[int, int], height: float, width: float) -> str:
        what = "all pictures have it" if len(self.sizes) == 1 else f"pictures are about {width:.0f} x {height:.0f}"
        if size == (height, width):
            return what
        if max(height, width) > LARGEST:
            what = f"pictures are {width:.0f} x {height:.0f}" if len(self.sizes) == 1 else what
            return f"{what}, and {LARGEST} pixels are trained in minutes without a GPU; small faults may need more"
        return f"{what}, and the network halves the sides twice and more"


def _kind_of_grey(mode: str) -> str:
    """Return what a grey picture is, by Pillow's mode of its file; an empty string for one that could have colour."""
    if mode.startswith("I;16"):
        return "in grey with 16 bits"
    return "in grey with 8 bits" if mode in ("1", "L", "LA") else ""


def _fitted(height: float, width: float) -> tuple[int, int]:
    """Return height and width: those of the pictures, at most LARGEST, in multiples of _SIDE."""
    scale = min(1.0, LARGEST / max(height, width))
    sides = (max(8, round(side * scale / _SIDE) * _SIDE) for side in (height, width))
    return tuple(sides)  # type: ignore[return-value]
