"""Tell a layer that has learned something from fresh weights by its largest singular value.

A step of training changes a layer by a matrix of low rank, and steps that follow each other change it in the same few
directions. So a direction grows out of the noise long before a single filter looks smooth, and most so in large layers. In
fresh weights the square of the largest singular value follows the law of Tracy and Widom, whatever the distribution of the
weights is (Johnstone, "On the distribution of the largest eigenvalue in principal components analysis", 2001; with filters of
unit length, as here: Bao, Pan and Zhou, "Tracy-Widom law for the extreme eigenvalues of sample correlation matrices", 2012).
"""

from __future__ import annotations

import math

import numpy as np

from avizor_inference.arrays import Floats

# With fewer filters, or fewer weights in each, the law is not near.
_FEWEST = 4

# A gamma distribution that is nearly Tracy and Widom's for real numbers (Chiani, "Distribution of the largest eigenvalue for
# real Wishart and Gaussian random matrices and a simple approximation for the Tracy-Widom distribution", 2014).
_SHAPE, _SCALE, _SHIFT = 46.446, 0.186054, 9.84801


def sidak(smallest: float, of: int) -> float:
    """Return the probability that the smallest of so many independent p-values is at most this one."""
    return -math.expm1(of * math.log1p(-smallest)) if smallest < 1 else 1.0


def spectrum_p_value(weights: Floats) -> float | None:
    """Return the probability that a fresh layer has so large a singular value; None if it is too small to be judged.

    weights: [filters, channels, *kernel]. It is too large rather than too small: filters of unit length vary less than those of
    the law. No scale of a filter changes it.
    """
    matrix = weights.reshape(len(weights), -1)
    matrix = matrix / np.abs(matrix).max(axis=1, keepdims=True).clip(np.finfo(matrix.dtype).tiny)
    lengths = np.linalg.norm(matrix, axis=1)
    matrix = matrix[lengths > 0] / lengths[lengths > 0, None]
    filters, size = matrix.shape
    if min(filters, size) < _FEWEST:
        return None
    products = matrix @ matrix.T if filters <= size else matrix.T @ matrix
    largest = float(np.linalg.eigvalsh(products)[-1]) * size
    edge = math.sqrt(filters - 0.5) + math.sqrt(size - 0.5)
    spread = edge * (1 / math.sqrt(filters - 0.5) + 1 / math.sqrt(size - 0.5)) ** (1 / 3)
    return _gamma_survival((largest - edge**2) / spread + _SHIFT)


def _gamma_survival(value: float) -> float:
    """Return the probability that the gamma number is larger: Wilson and Hilferty's approximation (1931)."""
    degrees = 2 * _SHAPE
    variance = 2 / (9 * degrees)
    z = (math.cbrt(2 * max(value, 0.0) / _SCALE / degrees) - (1 - variance)) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))
