"""The front end of the kind that test_new_kind.py adds. It becomes export/avizor_export/front_ends/kinds/video.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from avizor_export.front_ends.band_constants import band_constants
from avizor_export.front_ends.kinds.base import KindOfFrontEnd, Rows
from avizor_inference.strict_json import Strict


class Scaling(nn.Module):
    """uint8[batch, frames, height, width] -> float32 of the same shape."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self._mean, self._std = mean, std

    def forward(self, video: Tensor) -> Tensor:
        """Scale."""
        return (video.float() / 255 - self._mean) / self._std


class FrontEnd(KindOfFrontEnd[Any]):
    """Pixels scaled and standardised."""

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return Scaling(self.spec.front_end.mean[0], self.spec.front_end.std[0])

    def parts(self) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        return (self.spec.front_end,)

    def fit(self, items: Iterable[Tensor]) -> Sequence[Strict]:
        """See KindOfFrontEnd."""
        scale = Scaling(0.0, 1.0)
        return (self.spec.front_end.model_copy(update=band_constants(scale(batch).flatten(1)[:, None] for batch in items)),)

    def with_parts(self, parts: Sequence[Strict]) -> Any:
        """See KindOfFrontEnd."""
        return self.spec.model_copy(update={"front_end": parts[0]})

    def warnings(self) -> Iterator[str]:
        """Yield what is certain to happen, for the test."""
        yield f"a film of {self.spec.frames} frames is short"

    def table(self) -> Rows:
        """See KindOfFrontEnd."""
        return [("films", "mean", "std"), ("pixels", f"{self.spec.front_end.mean[0]:.2f}", f"{self.spec.front_end.std[0]:.2f}")]
