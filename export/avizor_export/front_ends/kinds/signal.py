"""Define the front end of signals."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from avizor_export.front_ends.kinds.bands import BandedFrontEnd, for_each
from avizor_export.front_ends.kinds.base import Rows
from avizor_export.front_ends.signal_scaling import SignalScaling
from avizor_inference.items.kinds.signal import SignalInput


class FrontEnd(BandedFrontEnd[SignalInput]):
    """Standardises each channel. Its constants are mean and std of each channel, in the unit of the signal."""

    least_std: ClassVar[float] = 0.0  # signals have any amplitude

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return SignalScaling(self.spec.front_end)

    def bands(self, features: Tensor) -> Tensor:
        """See BandedFrontEnd."""
        return features

    def table(self) -> Rows:
        """Return mean and std of each channel."""
        channels = self.spec.channels
        names = self.spec.columns or tuple(map(str, range(channels)))
        mean, std = (for_each(values, channels) for values in (self.spec.front_end.mean, self.spec.front_end.std))
        rows = zip(names, mean, std, strict=True)
        return [("channel", "mean", "std"), *((name, f"{m:g}", f"{s:g}") for name, m, s in rows)]
