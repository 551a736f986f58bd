"""Choose by what the points of a picture are coloured: label, source, score or verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avizor_inference.arrays import Floats
from avizor_inference.errors import SettingsError
from avizor_pipeline.projection.labels import Labels

Colour = Literal["label", "source", "score", "verdict"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

# Classes with a colour of their own; further ones are grey together.
MOST_CLASSES = 20


@dataclass(frozen=True, eq=False)
class Classes:
    """Holds a class of each point: codes int64[n], places in `names`; -1: other, or unknown."""

    title: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    others: str = ""


@dataclass(frozen=True, eq=False)
class Scores:
    """Holds a score of each point: float64[n]."""

    title: str
    values: Floats


def colours_of(rows: pa.Table, asked: tuple[Colour, ...], labels: Labels | None) -> dict[Colour, Classes | Scores]:
    """Return what the asked colours mean for rows of windows/. None asked: labels, or else verdicts, scores, or sources.

    Raises SettingsError for one that the rows do not have.
    """
    has: dict[Colour, bool] = {
        "label": labels is not None,
        "verdict": rows["is_anomaly"].null_count < rows.num_rows,
        "score": rows["score"].null_count < rows.num_rows,
        "source": True,
    }
    chosen = asked or (next(each for each in has if has[each]),)
    for each in chosen:
        if not has[each]:
            there = ", ".join(name for name in has if has[name])
            raise SettingsError(f"--color {each}: the results have none of this model; there is {there}")
    return {each: _of(rows, each, labels) for each in chosen}


def _of(rows: pa.Table, colour: Colour, labels: Labels | None) -> Classes | Scores:
    if colour == "score":
        return Scores("score", rows["score"].to_numpy().astype(np.float64))
    if colour == "verdict":
        return Classes("verdict", ("normal", "anomaly"), pc.fill_null(rows["is_anomaly"].cast(pa.int64()), -1).to_numpy())
    if colour == "source":
        encoded = rows["source"].combine_chunks().dictionary_encode()
        return _frequent("source", encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64))
    assert labels is not None
    title = {"predicted": "predicted label", "source": "source"}.get(labels.what, "label")
    return _frequent(title, list(labels.names), labels.codes)


def _frequent(title: str, names: list[str], codes: NDArray[np.int64]) -> Classes:
    """Keep the most frequent names, in the order of the names; the others share one colour."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    most = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    kept = sorted(most.tolist(), key=lambda place: names[place])
    places = np.full(len(names) + 1, -1, np.int64)  # the last is that of points without a name
    places[kept] = np.arange(len(kept))
    left, unknown = len(names) - len(kept), bool((codes < 0).any())
    others = " and ".join([*[f"{left} others"] * (left > 0), *["without one"] * unknown])
    return Classes(title, tuple(names[place] for place in kept), places[codes], others)
