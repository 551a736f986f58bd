"""Fit baselines for the autoencoders to the same features, and compute the areas under the ROC curve to compare them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import Tensor
from training import in_batches, train_autoencoder

from avizor_export import build_autoencoder

Errors = NDArray[np.float32]  # [n], mean squared error of each item

MOST_FALSE_ALARMS = 0.1

# As in the baseline of DCASE 2020's task 2: four layers of 128 on both sides of a bottleneck of 8.
DENSE = "fc128bn fc128bn fc128bn fc128bn latent8"


def pca(items: Tensor, dimension: float) -> PCA:
    """Fit principal components to items [n, ...]. dimension: how many, or below 1 the share of the variance to explain."""
    return PCA(dimension, random_state=0).fit(items.flatten(1).numpy())


def pca_errors(components: PCA, items: Tensor) -> Errors:
    """Return the errors of items [n, ...] that are reconstructed from principal components."""
    flat = items.flatten(1).numpy()
    return np.asarray(((components.inverse_transform(components.transform(flat)) - flat) ** 2).mean(axis=1))


def dense(items: Tensor, *, epochs: int, seed: int = 0) -> torch.nn.Module:
    """Train the dense autoencoder on items [n, ...], with the same loop as the other networks."""
    torch.manual_seed(seed)
    network = build_autoencoder(DENSE, tuple(items.shape[1:]))
    train_autoencoder(network, items, epochs=epochs, seed=seed, batch_size=32 if len(items) < 10_000 else 256)
    return network


def errors(network: torch.nn.Module, items: Tensor) -> Errors:
    """Return the errors of items [n, ...] that a network reconstructs."""
    return ((in_batches(network, items) - items) ** 2).flatten(1).mean(dim=1).numpy()


def areas(name: str, is_odd: NDArray[np.bool_], scores: NDArray[np.floating]) -> dict[str, float]:
    """Return the area under the ROC curve, and under its part up to MOST_FALSE_ALARMS (McClish's scaling: 0.5 by chance)."""
    return {
        f"{name}roc_auc": float(roc_auc_score(is_odd, scores)),
        f"{name}partial_auc": float(roc_auc_score(is_odd, scores, max_fpr=MOST_FALSE_ALARMS)),
    }


def contexts(spectrograms: Tensor, frames: int = 5) -> Tensor:
    """Return every sequence of `frames` frames as one vector, like DCASE's baseline.

    float32[n, 1, mels, m] -> [n, m - frames + 1, mels * frames].
    """
    return spectrograms[:, 0].unfold(2, frames, 1).permute(0, 2, 1, 3).flatten(2)
