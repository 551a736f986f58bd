"""Apply linear maps with constant weights in float32, plain or compensated for rounding."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Bits of a float32's significand: whole multiples of a step are exact up to 2^24 steps.
_SIGNIFICAND_BITS = 24

Apply = Callable[[Tensor, Tensor], Tensor]


class Product(nn.Module):
    """Computes apply(values, weights), where apply is linear in both. Rounds wherever float32 rounds."""

    weights: Tensor

    def __init__(self, apply: Apply, weights: NDArray[np.float64]) -> None:
        super().__init__()
        self.apply_weights = apply
        constant(self, "weights", weights)

    def forward(self, values: Tensor) -> Tensor:
        """Apply the product to values."""
        return self.apply_weights(values, self.weights)


class CompensatedProduct(nn.Module):
    """Computes apply(values, weights) as a sum of two tensors, of which the first is exact: errors are some 2^9 times smaller.

    Values and weights are each split into multiples of a power of two and a rest. The steps are coarse enough for products of
    multiples to be summed without rounding, in whatever order; what is rounded are products with a rest. (After K. Ozaki
    et al., "Error-free transformations of matrix multiplication by using fast routines of matrix multiplication and its
    applications", Numerical Algorithms 59, 2012.)

    largest_sum: the largest sum of magnitudes of products; beyond it the first tensor is rounded like any other.
    """

    coarse: Tensor
    fine: Tensor
    weights: Tensor

    def __init__(self, apply: Apply, weights: NDArray[np.float64], largest_sum: float) -> None:
        super().__init__()
        self.apply_weights = apply
        bits = _SIGNIFICAND_BITS - math.ceil(math.log2(largest_sum))
        steps = 2.0 ** (bits // 2)
        self._steps = 2.0 ** (bits - bits // 2)
        coarse = np.round(weights * steps) / steps
        constant(self, "coarse", coarse)
        constant(self, "fine", weights - coarse)
        constant(self, "weights", weights)

    def forward(self, values: Tensor, rest: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the compensated product to values + rest."""
        coarse = torch.round(values * self._steps) * (1 / self._steps)
        fine = values - coarse
        if rest is not None:
            fine = fine + rest
        small = self.apply_weights(coarse, self.fine) + self.apply_weights(fine, self.weights)
        return self.apply_weights(coarse, self.coarse), small


def constant(module: nn.Module, name: str, values: NDArray[np.float64]) -> None:
    """Return a float32 buffer, rounded once from float64. Not in the state dict: what it is made from is in the manifest."""
    module.register_buffer(name, torch.from_numpy(np.asarray(values, dtype=np.float32)), persistent=False)
