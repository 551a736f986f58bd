"""Define the front end of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from avizor_export.front_ends.band_constants import band_constants
from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.front_ends.kinds.base import KindOfFrontEnd, Rows
from avizor_inference.items.kinds.image import ImageInput
from avizor_inference.strict_json import Strict


class FrontEnd(KindOfFrontEnd[ImageInput]):
    """Scales and standardises pixels. Its constants are mean and std of each channel."""

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return ImageScaling(self.spec.front_end)

    def parts(self) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        return (self.spec.front_end,)

    def fit(self, items: Iterable[Tensor]) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        plain = self.spec.front_end.model_copy(update={"mean": (0.0,), "std": (1.0,)})
        scale = ImageScaling(plain)
        return (plain.model_copy(update=band_constants(scale(batch).flatten(2) for batch in items)),)

    def with_parts(self, parts: Sequence[Strict]) -> ImageInput:
        """See KindOfFrontEnd."""
        (front_end,) = parts
        return self.spec.model_copy(update={"front_end": front_end})

    def warnings(self) -> Iterator[str]:
        """Yield constants that are probably on another scale."""
        for name, values in (("mean", self.spec.front_end.mean), ("std", self.spec.front_end.std)):
            if off := [value for value in values if not 0 <= value <= 1]:
                listed = ", ".join(f"{value:g}" for value in off)
                yield f"{name} {listed} is not on the 0..1 scale of pixels / 255; divide by 255 if it was taken on 0..255"

    def table(self) -> Rows:
        """Return mean and std of each channel."""
        channels = self.spec.channels
        mean, std = (_for_each(values, channels) for values in (self.spec.front_end.mean, self.spec.front_end.std))
        rows = zip(range(channels), mean, std, strict=True)
        return [("channel, 0..1", "mean", "std"), *((str(channel), f"{m:g}", f"{s:g}") for channel, m, s in rows)]


def _for_each(values: Sequence[float], count: int) -> Sequence[float]:
    return values if len(values) == count else [values[0]] * count
