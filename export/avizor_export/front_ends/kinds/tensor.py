"""Define the front end of a model that takes its own tensor: nothing is done to it."""

from __future__ import annotations

from torch import nn

from avizor_export.front_ends.kinds.base import KindOfFrontEnd
from avizor_inference.items.kinds.tensor import TensorInput


class FrontEnd(KindOfFrontEnd[TensorInput]):
    """Returns its input."""

    def module(self) -> nn.Module:
        """See KindOfFrontEnd."""
        return nn.Identity()
