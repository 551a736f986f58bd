"""Find a scale on which normal vectors vary alike: a distance then counts a change by how unusual it is."""

from __future__ import annotations

import torch
from torch import Tensor


def standardising(centred: Tensor) -> Tensor:
    """Return the matrix float32[D, D] that divides each number of these vectors [n, D], of mean 0, by its deviation.

    A number that never varies is divided by the largest deviation of all.
    """
    deviation = (centred**2).mean(dim=0).sqrt()
    largest = deviation.max().clamp(min=1e-6)
    return torch.diag(1 / torch.where(deviation > 1e-6 * largest, deviation, largest))


def whitening(centred: Tensor) -> Tensor:
    """Return the matrix float32[D, D] after which the covariance of these vectors [n, D], of mean 0, is about the identity.

    The covariance is first shrunk to a multiple of the identity, by as much as its own error says (Ledoit and Wolf, "A
    well-conditioned estimator for large-dimensional covariance matrices", 2004). So directions that n vectors do not show have
    a variance too.
    """
    vectors = centred.double()
    count, size = vectors.shape
    covariance = vectors.T @ vectors / count
    mean = covariance.trace() / size
    apart = ((covariance - mean * torch.eye(size)) ** 2).sum()
    error = ((vectors**2).sum(dim=1) ** 2).mean() - (covariance**2).sum()
    share = (error / count / apart.clamp(min=1e-30)).clamp(1e-4, 1.0)
    variances, directions = torch.linalg.eigh(covariance)
    shrunk = (1 - share) * variances.clamp(min=0) + share * mean
    whitened: Tensor = directions / shrunk.clamp(min=1e-30).sqrt()
    return whitened.float()
