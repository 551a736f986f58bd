"""The methods that are compared: each is fitted to the normal windows of the training, and scores windows.

A setting is a dict of what the tuning may change; {} is the method's default. Ten trials are ten settings drawn from a method's
space, the same for all sets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from baselines import DENSE, contexts
from detection.metrics import Scores as ItemScores
from detection.sets import DetectionSet, Items, Rows
from numpy.typing import NDArray
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from training import in_batches, train_autoencoder

from avizor_export import build_autoencoder, train_detector
from avizor_export.detection.fit import neighbours
from avizor_export.detection.scores import Scores
from avizor_inference import ItemScore

Setting = Mapping[str, Any]
Score = Callable[[Rows], ItemScores]  # windows [n, *shape] -> [n]
Fit = Callable[[DetectionSet, int, Setting], Score]

TRIALS = 10
BEFORE, NOW, NEAREST = "Avizor before", "Avizor", "Avizor, nearest alone"


class Method(NamedTuple):
    """Holds how a method is fitted, and whether the score of an item is Avizor's power mean or the mean over its windows."""

    fit: Fit
    space: Mapping[str, Sequence[Any]]
    by_power_mean: bool = False

    def item_scores(self, score: Score, items: Items) -> ItemScores:
        """Return the score of each item."""
        by_window = np.split(score(items.windows), np.flatnonzero(np.diff(items.owner)) + 1)
        if self.by_power_mean:
            return np.array([ItemScore.of(scores).value for scores in by_window])
        return np.array([scores.mean() for scores in by_window])


def trials(name: str) -> list[Setting]:
    """Return the settings that the tuning of a method tries: TRIALS of them, or as many as its space has; none without one."""
    rng, found = random.Random(name), list[Setting]()
    space = METHODS[name].space
    if not space:
        return []
    for _ in range(1000):
        setting = {key: rng.choice(values) for key, values in space.items()}
        if setting not in found:
            found.append(setting)
        if len(found) == TRIALS:
            break
    return found


def _flat(windows: Rows) -> NDArray[np.float64]:
    return windows.reshape(len(windows), -1).astype(np.float64)


def _reconstruction(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Train with the recipe of the examples and the documentation as it was when the benchmark was frozen."""
    windows = torch.from_numpy(data.train.windows)
    latent, longer = setting.get("latent", 1), setting.get("longer", 1)
    torch.manual_seed(seed)
    if data.family == "series":
        spec, epochs, batch = f"conv8s2k7 conv8s4k9p4 latentmap{int(4 * latent)}", 20, 64
    elif data.is_sound:
        spec = f"conv16s2bn conv32s2bn conv64s2bn latent{int(24 * latent)}"
        epochs, batch = 80, 32
    elif data.family == "images":
        spec = f"conv32bn conv64s2bn fc128bn fc64bn latent{int(8 * latent)}"
        epochs, batch = 20, 32
    else:
        spec, epochs, batch = f"fc64bn fc32bn latent{int(4 * latent)}", 30, 32
    network = build_autoencoder(spec, tuple(windows.shape[1:]))
    train_autoencoder(network, windows, epochs=int(epochs * longer), seed=seed, batch_size=batch)
    return _error(network)


def _error(network: nn.Module) -> Score:
    def score(rows: Rows) -> ItemScores:
        windows = torch.from_numpy(rows)
        return ((in_batches(network, windows) - windows) ** 2).flatten(1).mean(dim=1).double().numpy()

    return score


def _two_scores(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Train with the recipe of the package: no setting, and a second score. The items of the statistics end it."""
    known, held_out = (torch.from_numpy(part.windows) for part in (data.train, data.statistics))
    detector, _ = train_detector(known, held_out, is_sound=data.is_sound, seed=seed)

    def score(rows: Rows) -> ItemScores:
        with torch.no_grad():
            scored = [detector.score(batch)["score"][:, 0] for batch in torch.from_numpy(rows).split(256)]
        return torch.cat(scored).double().numpy()

    return score


def _nearest(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Score by the second score of the package alone, without an autoencoder."""
    known, held_out = (torch.from_numpy(part.windows) for part in (data.train, data.statistics))
    part = neighbours(known, is_sound=data.is_sound, seed=seed)
    scores = Scores({"neighbour_score": part}, {"neighbour_score": 1.0})
    with torch.no_grad():
        scores.fit(scores.values(held_out, held_out))

    def score(rows: Rows) -> ItemScores:
        with torch.no_grad():
            return torch.cat([scores(batch, batch)[0][:, 0] for batch in torch.from_numpy(rows).split(256)]).double().numpy()

    return score


def _dense(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Train the dense autoencoder of DCASE's baseline: of sound on five frames at a time, else on the whole window."""

    def frames(windows: Tensor) -> Tensor:
        return contexts(windows) if data.is_sound else windows.flatten(1)[:, None]

    rows = frames(torch.from_numpy(data.train.windows)).flatten(0, 1)
    torch.manual_seed(seed)
    spec = DENSE if not setting else " ".join([f"fc{setting['width']}bn"] * setting["layers"] + [f"latent{setting['latent']}"])
    network = build_autoencoder(spec, (rows.shape[1],))
    epochs = setting.get("epochs", 20)
    train_autoencoder(network, rows, epochs=epochs, seed=seed, batch_size=32 if len(rows) < 10_000 else 256)

    def score(windows: Rows) -> ItemScores:
        known = frames(torch.from_numpy(windows))
        errors = _error(network)(known.flatten(0, 1).numpy())
        return np.asarray(errors.reshape(len(windows), -1).mean(axis=1))

    return score


def _neighbours(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Mean distance to the nearest rows of the training."""
    metric = setting.get("metric", "euclidean")
    known = NearestNeighbors(n_neighbors=setting.get("k", 5), metric=metric, algorithm="brute").fit(_flat(data.train.windows))
    return lambda windows: known.kneighbors(_flat(windows))[0].mean(axis=1)


def _pca(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Squared error of the reconstruction from the principal components that explain a share of the variance."""
    components = PCA(setting.get("share", 0.9), svd_solver="full").fit(_flat(data.train.windows))

    def score(windows: Rows) -> ItemScores:
        rows = _flat(windows)
        return np.asarray(((components.inverse_transform(components.transform(rows)) - rows) ** 2).mean(axis=1))

    return score


def _mahalanobis(data: DetectionSet, seed: int, setting: Setting) -> Score:
    """Mahalanobis distance, with the covariance shrunk to a multiple of the identity (Ledoit and Wolf, unless it is tuned).

    The eigenvectors are those of the training's rows, and all that is orthogonal to them has the shrunk variance alone.
    """
    rows = _flat(data.train.windows)
    mean = rows.mean(axis=0)
    _, singular, basis = np.linalg.svd(rows - mean, full_matrices=False)
    variances, size = singular**2 / len(rows), rows.shape[1]
    shrinkage = setting.get("shrinkage") or max(1e-6, float(ledoit_wolf_shrinkage(rows - mean, assume_centered=True)))
    floor = shrinkage * variances.sum() / size

    def score(windows: Rows) -> ItemScores:
        centred = _flat(windows) - mean
        along = centred @ basis.T
        rest = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray(np.sqrt((along**2 / ((1 - shrinkage) * variances + floor)).sum(axis=1) + rest / floor))

    return score


def _pyod(make: Callable[[int, Setting], Any]) -> Fit:
    def fit(data: DetectionSet, seed: int, setting: Setting) -> Score:
        detector = make(seed, setting)
        detector.fit(_flat(data.train.windows))
        return lambda windows: np.asarray(detector.decision_function(_flat(windows)), dtype=np.float64)

    return fit


def _pyod_autoencoder(seed: int, setting: Setting) -> Any:
    options = {"verbose": 0, "random_state": seed, "device": torch.device("cpu")} | dict(setting)
    return AutoEncoder(**options)


METHODS: dict[str, Method] = {
    NOW: Method(_two_scores, {}, by_power_mean=True),
    NEAREST: Method(_nearest, {}, by_power_mean=True),
    BEFORE: Method(_reconstruction, {"latent": [0.25, 0.5, 1, 2, 4], "longer": [0.5, 1]}, by_power_mean=True),
    "kNN": Method(_neighbours, {"k": [1, 2, 5, 10, 20], "metric": ["euclidean", "manhattan"]}),
    "PCA": Method(_pca, {"share": [0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99]}),
    "Mahalanobis": Method(_mahalanobis, {"shrinkage": [0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8]}),
    "PyOD AutoEncoder": Method(
        _pyod(_pyod_autoencoder),
        {
            "lr": [1e-3, 3e-3],
            "epoch_num": [10, 20],
            "hidden_neuron_list": [[64, 32], [128, 64], [64, 16], [64, 8]],
            "dropout_rate": [0.0, 0.2],
        },
    ),
    "PyOD IForest": Method(
        _pyod(lambda seed, setting: IForest(random_state=seed, **setting)),
        {"n_estimators": [50, 100, 200, 300], "max_samples": [128, 256, 512], "max_features": [0.5, 1.0]},
    ),
    "PyOD KNN": Method(
        _pyod(lambda _, setting: KNN(**setting)),
        {"n_neighbors": [1, 2, 5, 10, 20], "method": ["largest", "mean", "median"]},
    ),
    "PyOD ECOD": Method(_pyod(lambda *_: ECOD()), {}),
    "dense autoencoder": Method(
        _dense, {"width": [64, 128], "layers": [2, 3, 4], "latent": [4, 8, 16, 32], "epochs": [10, 20]}
    ),
}
