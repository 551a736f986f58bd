"""Define the front end of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.front_ends.kinds.bands import BandedFrontEnd, for_each
from avizor_export.front_ends.kinds.base import Rows
from avizor_inference.items.kinds.image import ImageFrontEnd, ImageInput


class FrontEnd(BandedFrontEnd[ImageInput]):
    """Scales and standardises pixels. Its constants are mean and std of each channel."""

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return ImageScaling(self.spec.front_end)

    def bands(self, features: Tensor) -> Tensor:
        """See BandedFrontEnd."""
        return features.flatten(1, 2).mT if self.spec.front_end.layout == "nhwc" else features.flatten(2)

    def warnings(self) -> Iterator[str]:
        """Yield constants that are probably on another scale, and a resizing that leaves a border."""
        spec = self.spec
        for name, values in (("mean", spec.front_end.mean), ("std", spec.front_end.std)):
            if name in spec.front_end.model_fields_set and (warning := _other_scale(name, values, spec.front_end)):
                yield warning
        if spec.fit == "shorter" and spec.resize[0] < min(spec.height, spec.width):
            yield (
                f"resize={'/'.join(map(str, spec.resize))} is smaller than the {spec.height} x {spec.width} pixels that are "
                "taken, so every picture gets a border of the colour `pad`"
            )

    def table(self) -> Rows:
        """Return range, mean and std of each channel, in the network's order."""
        front_end, channels = self.spec.front_end, self.spec.channels
        mean, std = (for_each(values, channels) for values in (front_end.mean, front_end.std))
        rows = zip(self.spec.colours(), mean, std, strict=True)
        header = (f"channel ({front_end.layout.upper()})", "range", "mean", "std")
        return [header, *((name, front_end.range, f"{m:g}", f"{s:g}") for name, m, s in rows)]


def _other_scale(name: str, values: Sequence[float], front_end: ImageFrontEnd) -> str:
    """Return a warning about constants that are not on the scale of `range`; empty if they may be."""
    low, high = front_end.limits
    least, most = (low, high) if name == "mean" else (0, high - low)
    if off := [value for value in values if not least <= value <= most]:
        listed = ", ".join(f"{value:g}" for value in off)
        advice = "divide by 255 if it was taken on 0..255, or write range=0..255" if max(off) > 1 else "check it, or the range"
        scale = "the 0..1 scale of pixels / 255" if front_end.range == "0..1" else f"the scale of range={front_end.range}"
        return f"{name} {listed} is not on {scale}; {advice}"
    if front_end.range == "0..255" and 0 < max(values) < 1:
        listed = ", ".join(f"{value:g}" for value in values)
        return f"{name} {listed} is very small for range=0..255; leave out the range if it was taken on 0..1"
    return ""
