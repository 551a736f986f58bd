"""Make two columns of many: by t-SNE, by PCA, or by UMAP where it is installed."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any, Literal

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.errors import JobError, SettingsError

Method = Literal["tsne", "pca", "umap"]
Metric = Literal["cosine", "euclidean"]

# t-SNE and UMAP work in the directions of most variance, as van der Maaten and Hinton do (2008): most neighbours stay, and the
# search for them takes a tenth of the time.
WORKING_NUMBERS = 50

# Fewer points have no neighbourhoods that a map could show.
FEWEST = 10

DEFAULT_PERPLEXITY = 30.0

# Up to here the Barnes-Hut tree is as fast as the interpolation on a grid, which larger maps take.
_FEW_POINTS = 10_000

# Standard deviation of the first column where t-SNE begins: far below the distances that it ends with.
_START = 1e-4

_PACKAGES = {"tsne": ("openTSNE", "avizor[projection]"), "umap": ("umap", "umap-learn")}


def check_installed(method: Method) -> None:
    """Raise SettingsError unless what the method needs is installed."""
    if method in _PACKAGES:
        _library(method)


def perplexity_for(points: int, asked: float | None) -> float:
    """Return the perplexity for t-SNE: as asked for, or 30, or a third of the points if these are few. Raises SettingsError."""
    most = (points - 1) / 3
    if asked is not None and asked > most:
        raise SettingsError(
            f"--perplexity {asked:g} needs at least {int(np.ceil(3 * asked)) + 1} points, and there are {points}; give at most "
            f"{np.floor(10 * most) / 10:g}"
        )
    return asked or min(DEFAULT_PERPLEXITY, most)


def check_enough(points: int, method: Method) -> None:
    """Raise JobError if there are too few points for the method."""
    fewest = 3 if method == "pca" else FEWEST
    if points < fewest:
        hint = "" if method == "pca" or points < 3 else ", or choose --method pca"
        raise JobError(f"{points} points are too few for a map by {method}, which needs {fewest}; run a larger job{hint}")


def pca(points: Floats) -> Floats:
    """Return float64[n, 2], the first two of columns that `principal_components` made; the second is 0 if there is one."""
    return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1]))))


def tsne(points: Floats, perplexity: float, seed: int, threads: int) -> Floats:
    """Return float64[n, 2], the places of points[n, numbers] by t-SNE (openTSNE), centred.

    The same points, seed and number of threads give the same places, bit for bit, with one or two threads.
    """
    open_tsne = _library("tsne")
    affinities = _affinities(points, perplexity, seed, threads)
    estimator = open_tsne.TSNE(negative_gradient_method=_gradient(len(points)), n_jobs=threads, random_state=seed)
    start = pca(points) * (_START / max(float(points[:, 0].std()), 1e-300))
    start += np.random.default_rng(seed).normal(scale=_START / 100, size=start.shape)  # equal points have to part
    places = np.array(estimator.fit(affinities=affinities, initialization=start), np.float64)
    return np.asarray(places - _middle(places))


def tsne_placed(new: Floats, points: Floats, places: Floats, perplexity: float, seed: int, threads: int) -> Floats:
    """Return float64[m, 2]: where new[m, numbers] come in a map of points[n, numbers] at places[n, 2], which stay.

    Each new point is drawn to its nearest old ones, and is not influenced by other new ones (openTSNE's transform).
    """
    affinities = _affinities(points, perplexity, seed, threads)
    embedding = _library("tsne").TSNEEmbedding(
        places.copy(),  # it is moved, so that its middle is at 0
        affinities,
        negative_gradient_method=_gradient(len(points)),
        n_jobs=threads,
        random_state=seed,
    )
    nearest_few = min(5.0, (len(points) - 1) / 3)
    placed = embedding.transform(new, perplexity=nearest_few, k=min(25, len(points) - 1))
    return np.asarray(np.array(placed, np.float64) + _middle(places))


def _middle(places: Floats) -> Floats:
    return np.asarray((places.max(axis=0) + places.min(axis=0)) / 2)


def umap(points: Floats, seed: int) -> Floats:
    """Return float64[n, 2], the places of points[n, numbers] by UMAP with its default settings."""
    reducer = _library("umap").UMAP(n_neighbors=min(15, len(points) - 1), random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(points), np.float64)


def _affinities(points: Floats, perplexity: float, seed: int, threads: int) -> Any:
    # Exact neighbours: they take less time than an index of 50 numbers, and are the same in each run.
    kind = import_module("openTSNE.affinity").PerplexityBasedNN
    return kind(points, perplexity, method="exact", n_jobs=threads, random_state=seed)


def _gradient(points: int) -> str:
    return "bh" if points < _FEW_POINTS else "fft"


def _library(method: Method) -> Any:
    name, what = _PACKAGES[method]
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"--method {method} needs {name}, which is not installed; pip install '{what}', or choose --method pca"
        ) from error
    logging.getLogger(name).setLevel(logging.ERROR)
    return module
