"""Make a map of the embeddings of a job, or place them in an old one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avizor_inference.arrays import Array, Floats
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.neighbourhoods import Indices
from avizor_inference.principal_components import principal_components
from avizor_pipeline.projection.embeddings import Embedded
from avizor_pipeline.projection.map_file import MapFile, key_digests, measured
from avizor_pipeline.projection.methods import (
    WORKING_NUMBERS,
    Method,
    Metric,
    check_enough,
    check_installed,
    pca,
    perplexity_for,
    tsne,
    tsne_placed,
    umap,
)

# Relative difference up to which an embedding counts as unchanged: engines differ in the last digits.
_UNCHANGED = 1e-4


@dataclass(frozen=True, eq=False)
class Placed:
    """Holds the places of the points of a job.

    places: float64[n, 2]. map: to place others in later. kept: points that were in the old map, and have not moved. explained:
    shares of variance of the two columns, of PCA alone. before, after: points[m, numbers] and places[m, 2] to judge the map by;
    own: int64[n], where the job's points are in them.
    """

    places: Floats
    map: MapFile
    kept: int
    explained: tuple[float, float] | None
    before: Array
    after: Floats
    own: Indices


def make_map(found: Embedded, method: Method, metric: Metric, perplexity: float | None, seed: int, threads: int) -> Placed:
    """Make a map. Raises JobError if there are too few points or they are all equal, SettingsError."""
    check_enough(len(found.vectors), method)
    asked = perplexity_for(len(found.vectors), perplexity) if method == "tsne" else 0.0
    vectors = measured(found.vectors, metric)
    components = principal_components(vectors, WORKING_NUMBERS)
    if components.variances[0] <= 1e-12 * (1e-300 + float(np.square(components.mean).sum())):
        raise JobError(
            f"all {len(vectors)} embeddings of {found.model.name} are equal: the model tells no item from another; look at its "
            "training, and at what it was given"
        )
    points = components.place(vectors)
    if method == "pca":
        places = pca(points)
    elif method == "umap":
        places = umap(points, seed)
    else:
        places = tsne(points, asked, seed, threads)
    shares = [float(each / components.total) for each in components.variances[:2]] + [0.0]
    map = MapFile(
        method=method,
        metric=metric,
        model=found.model.name,
        sha256=found.model.sha256,
        perplexity=asked,
        seed=seed,
        mean=components.mean,
        directions=components.directions,
        points=points.astype(np.float32),
        places=places,
        keys=key_digests(found.rows),
    )
    explained = (shares[0], shares[1]) if method == "pca" else None
    return Placed(places, map, 0, explained, vectors, places, np.arange(len(places)))


def place_in(found: Embedded, old: MapFile, threads: int) -> Placed:
    """Place the points of a job in an old map, whose points stay. Raises SettingsError if the map is of another model.

    A point that is in the map, with the same embedding, has its old place.
    """
    if (old.model, old.sha256) != (found.model.name, found.model.sha256):
        raise SettingsError(
            f"the map is of {old.model} of sha256 {old.sha256[:12]}..., and the results are of {found.model.name} of "
            f"{found.model.sha256[:12]}...: embeddings of two models cannot be compared; make a map of these results"
        )
    if old.mean.shape != found.vectors.shape[1:]:
        raise SettingsError(
            f"the map is of embeddings of {len(old.mean)} numbers, and those of the results have {found.vectors.shape[1]}; "
            "the map is damaged: make one of these results"
        )
    if old.method == "umap":
        raise SettingsError("a map by umap cannot take new points, since it is kept without the code that UMAP needs; use tsne")
    points = old.reduced(found.vectors)
    at = _places_in(old, found, points)
    new = np.flatnonzero(at < 0)
    places = np.where(at[:, None] >= 0, old.places[at], 0.0)
    if old.method == "pca":
        places[new] = pca(points[new])
    elif len(new):
        check_installed("tsne")
        reference = old.points.astype(np.float64)
        places[new] = tsne_placed(points[new], reference, old.places, old.perplexity, old.seed, threads)
    own = np.where(at >= 0, at, 0)
    own[new] = len(old.places) + np.arange(len(new))
    before = np.concatenate([old.points, points[new].astype(np.float32)])
    after = np.concatenate([old.places, places[new]])
    return Placed(places, old, int((at >= 0).sum()), None, before, after, own)


def _places_in(old: MapFile, found: Embedded, points: Floats) -> Indices:
    """Return int64[n]: where each point is in the old map; -1 if it is not, or has another embedding."""
    known = {digest.tobytes(): place for place, digest in enumerate(old.keys)}
    at = np.array([known.get(digest.tobytes(), -1) for digest in key_digests(found.rows)], np.int64)
    scale = max(float(np.abs(old.points).max()), 1e-300)
    moved = np.abs(old.points[at] - points).max(axis=1) > _UNCHANGED * scale
    return np.where(moved, -1, at)
