"""Define the front end of images."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.front_ends.kinds.bands import BandedFrontEnd, for_each
from avizor_export.front_ends.kinds.base import Rows
from avizor_inference.items.kinds.image import ImageInput


class FrontEnd(BandedFrontEnd[ImageInput]):
    """Scales and standardises pixels. Its constants are mean and std of each channel."""

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return ImageScaling(self.spec.front_end)

    def bands(self, features: Tensor) -> Tensor:
        """See BandedFrontEnd."""
        return features.flatten(2)

    def warnings(self) -> Iterator[str]:
        """Yield constants that are probably on another scale."""
        for name, values in (("mean", self.spec.front_end.mean), ("std", self.spec.front_end.std)):
            if off := [value for value in values if not 0 <= value <= 1]:
                listed = ", ".join(f"{value:g}" for value in off)
                yield f"{name} {listed} is not on the 0..1 scale of pixels / 255; divide by 255 if it was taken on 0..255"

    def table(self) -> Rows:
        """Return mean and std of each channel."""
        channels = self.spec.channels
        mean, std = (for_each(values, channels) for values in (self.spec.front_end.mean, self.spec.front_end.std))
        rows = zip(range(channels), mean, std, strict=True)
        return [("channel, 0..1", "mean", "std"), *((str(channel), f"{m:g}", f"{s:g}") for channel, m, s in rows)]
