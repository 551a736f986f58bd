"""Define what the front ends of images, sound and signals share: a mean and a std for each band."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import Tensor

from avizor_export.front_ends.band_constants import band_constants
from avizor_export.front_ends.kinds.base import KindOfFrontEnd, Spec
from avizor_inference.strict_json import Strict


class BandedFrontEnd(KindOfFrontEnd[Spec]):
    """Fits one mean and one std to each channel of images or signals, or each mel band of sound.

    least_std: a band with a smaller std counts as one that never changes.
    """

    least_std: ClassVar[float] = 1e-3

    @abstractmethod
    def bands(self, features: Tensor) -> Tensor:
        """Return what the module makes of a batch as [n, bands, values]."""

    def parts(self) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        front_end = self.spec.front_end_parameters
        assert front_end is not None  # a description with bands has one
        return (front_end,)

    def fit(self, items: Iterable[Tensor]) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        (front_end,) = self.parts()
        plain = front_end.model_copy(update={"mean": (0.0,), "std": (1.0,)})
        module = type(self)(self.with_parts([plain])).module()
        return (plain.model_copy(update=band_constants((self.bands(module(batch)) for batch in items), self.least_std)),)

    def with_parts(self, parts: Sequence[Strict]) -> Spec:
        """See KindOfFrontEnd."""
        (front_end,) = parts
        return self.spec.model_copy(update={"front_end": front_end})


def for_each(values: Sequence[float], count: int) -> Sequence[float]:
    """Return one value for each band, where the description may give one for all."""
    return values if len(values) == count else [values[0]] * count
