"""Find, for some windows, the items that are most like them and were not flagged, by the embeddings of the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avizor_inference.neighbourhoods import of_unit_length
from avizor_review.results import Results, WindowRow


@dataclass(frozen=True)
class Neighbour:
    """Holds an item that is like another one, the window by which it is, and their distance."""

    uri: str
    channel: int | None
    start_sample: int | None
    start_s: float | None
    distance: float


def nearest_normal(
    results: Results, model: str, windows: Sequence[WindowRow], k: int, *, cosine: bool
) -> list[list[Neighbour]]:
    """Return the k nearest items of each window, the nearest first, each by its nearest window; [] without embeddings.

    cosine: whether the direction alone counts, as for a classifier. Embeddings are read once, some thousand at a time.
    """
    own = _embeddings(results, model, windows)
    places = [place for place, vector in enumerate(own) if vector is not None]
    if not places:
        return [[] for _ in windows]
    points = np.stack([vector for vector in own if vector is not None]).astype(np.float64)
    points = of_unit_length(points) if cosine else points
    best: list[dict[str, Neighbour]] = [{} for _ in places]
    sql = (
        "SELECT w.uri, w.channel, w.start_sample, w.start_s, w.embedding FROM windows w JOIN recordings r "
        "ON w.uri = r.uri AND w.model = r.model "
        "WHERE w.model = ? AND w.embedding IS NOT NULL AND NOT coalesce(r.is_anomaly, false)"
    )
    for batch in results.tables.batches(sql, [model]):
        vectors = np.asarray(batch.column(4).flatten().to_numpy(zero_copy_only=False), np.float64).reshape(batch.num_rows, -1)
        vectors = of_unit_length(vectors) if cosine else vectors
        squares = np.maximum((points**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1)[None] - 2 * points @ vectors.T, 0.0)
        columns = [batch.column(number) for number in range(4)]
        for number, place in enumerate(places):
            _take(best[number], windows[place].uri, squares[number], columns, k)
    found: list[list[Neighbour]] = [[] for _ in windows]
    for number, place in enumerate(places):
        found[place] = sorted(best[number].values(), key=lambda each: (each.distance, each.uri))[:k]
    return found


def _take(best: dict[str, Neighbour], own: str, squares: NDArray[np.float64], columns: Sequence[Any], k: int) -> None:
    """Add the nearest of some windows to the k nearest items so far. squares: float64[windows]. columns: uri first."""
    limit = max((each.distance for each in best.values()), default=np.inf) if len(best) >= k else np.inf
    for row in _nearest_of_each(squares, columns[0], k + 1):  # one may be of the item itself
        distance = float(np.sqrt(squares[row]))
        if distance > limit:
            break
        uri, channel, start_sample, start_s = (column[row].as_py() for column in columns)
        if uri != own and (uri not in best or distance < best[uri].distance):
            best[uri] = Neighbour(uri, channel, start_sample, start_s, distance)
    for uri in sorted(best, key=lambda name: (best[name].distance, name))[k:]:
        del best[uri]


def _nearest_of_each(squares: NDArray[np.float64], uris: Any, most: int) -> list[int]:
    """Return the place of the nearest window of each item, the nearest first, of at most so many items.

    squares: float64[windows]. uris: of the windows, in Arrow. An item may have thousands that are alike.
    """
    order = np.argsort(squares, kind="stable")
    items = uris.dictionary_encode().indices.to_numpy()[order]
    _, first = np.unique(items, return_index=True)
    places: list[int] = order[np.sort(first)[:most]].tolist()
    return places


def _embeddings(results: Results, model: str, windows: Sequence[WindowRow]) -> list[NDArray[np.float32] | None]:
    sql = (
        "SELECT uri, channel, start_sample, embedding FROM windows "
        "WHERE model = ? AND embedding IS NOT NULL AND uri IN (SELECT unnest(?))"
    )
    rows = results.tables.rows(sql, [model, [window.uri for window in windows]])
    of = {(uri, channel, start): np.asarray(vector, np.float32) for uri, channel, start, vector in rows}
    return [of.get((window.uri, window.channel, window.start_sample)) for window in windows]
