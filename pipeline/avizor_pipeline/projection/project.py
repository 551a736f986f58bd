"""Make a map of a job's embeddings, judge it, draw it, and write it: what `avizor project` does."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from avizor_inference.errors import SettingsError
from avizor_inference.explain.pictures.figure import new_figure
from avizor_inference.items.file_access import name_of
from avizor_pipeline.projection.colours import Colour, colours_of
from avizor_pipeline.projection.embeddings import Embedded, finished_job, read_embeddings
from avizor_pipeline.projection.labels import PREDICTED, SOURCE, Labels, labels_of
from avizor_pipeline.projection.map_file import read_map
from avizor_pipeline.projection.methods import Method, Metric, check_installed
from avizor_pipeline.projection.picture import draw
from avizor_pipeline.projection.place import Placed, make_map, place_in
from avizor_pipeline.projection.trust import Trust, trust_of
from avizor_pipeline.projection.write import (
    ProjectionReport,
    names_of,
    picture_name,
    projection_table,
    state_of,
    write_projection,
)
from avizor_pipeline.sinks.output_files import OutputPath

# Windows in a map; of more, this many are drawn at random.
MOST_POINTS = 100_000


@dataclass(frozen=True)
class ProjectionRequest:
    """Holds what a person asks for.

    metric: None: cosine for a classifier, Euclidean for any other model. label, label_pattern: see `labels_of`. place_in: an
    old map, or the results that have it. most: points at most. pictures: whether they are drawn.
    """

    model: str | None = None
    method: Method = "tsne"
    metric: Metric | None = None
    perplexity: float | None = None
    label: str | None = None
    label_pattern: str = ""
    colours: tuple[Colour, ...] = ()
    place_in: str | None = None
    most: int = MOST_POINTS
    seed: int = 0
    threads: int = 2
    pictures: bool = True


def _check_pictures() -> None:
    """Raise SettingsError, before the long work, if matplotlib is missing."""
    try:
        new_figure(1, 1)
    except SettingsError as error:
        raise SettingsError(f"{error}, or give --no-pictures") from error


def project(out: OutputPath, request: ProjectionRequest) -> ProjectionReport:
    """Make, judge, draw and write the map. Raises JobError, SettingsError."""
    started = time.monotonic()
    if request.pictures:
        _check_pictures()
    if not request.place_in:
        check_installed(request.method)
    with finished_job(out) as settings:
        read_in = state_of(out)
        found = read_embeddings(out, settings, request.model, request.most, request.seed)
    labels = labels_of(found.rows, request.label, request.label_pattern)
    colours = colours_of(found.rows, request.colours, labels)
    placed = _placed(found, request)
    trust = _trust(placed, labels, request.seed)
    map = placed.map
    table, _, map_name = names_of(found.model.name, map.method)
    pictures = {picture_name(found.model.name, map.method, each): each for each in colours} if request.pictures else {}
    report = ProjectionReport(
        out=name_of(str(out)),
        model=found.model.name,
        model_version=found.model.version,
        method=map.method,
        metric=map.metric,
        perplexity=map.perplexity,
        seed=map.seed,
        windows=found.windows,
        points=len(found.vectors),
        dimensions=found.vectors.shape[1],
        directions=len(map.directions),
        placed_in=request.place_in or "",
        kept=placed.kept,
        explained=placed.explained,
        trust=trust,
        seconds=round(time.monotonic() - started, 1),
        table=table,
        map=map_name,
        pictures=list(pictures),
    )
    old = map.places if request.place_in else None
    title = f"{found.model.name}: {map.method} of {report.points:,} embeddings"
    title += f" in a map of {len(map.places):,}" if request.place_in else ""
    drawn = {
        name: draw(placed.places, colours[each], title, note_of(report), _axes(placed), old) for name, each in pictures.items()
    }
    true_labels = labels if labels and labels.what not in (PREDICTED, SOURCE) else None
    rows = projection_table(found, map.method, placed.places, true_labels)
    write_projection(out, read_in, rows, drawn, report, map)
    return report


def note_of(report: ProjectionReport) -> str:
    """Return how far to trust the map, in one line for people."""
    trust = report.trust
    note = f"trustworthiness {trust.trustworthiness:.3f}, continuity {trust.continuity:.3f} (k={trust.k})"
    if knn := trust.knn_accuracy:
        note += f"; {trust.k} neighbours agree with the label: {knn.before:.1%} before, {knn.after:.1%} here"
    return note


def _placed(found: Embedded, request: ProjectionRequest) -> Placed:
    if request.place_in:
        old = read_map(request.place_in, found.model.name, request.method)
        return place_in(found, old, request.threads)
    metric = request.metric or ("euclidean" if found.rows["label"].null_count == len(found.vectors) else "cosine")
    return make_map(found, request.method, metric, request.perplexity, request.seed, request.threads)


def _trust(placed: Placed, labels: Labels | None, seed: int) -> Trust:
    if labels and len(placed.before) != len(placed.places):  # the old points of a map have no labels here
        codes = np.full(len(placed.before), -1, np.int64)
        codes[placed.own] = labels.codes
        labels = Labels(labels.what, labels.names, codes)
    return trust_of(placed.before, placed.after, np.sort(placed.own), labels, seed)


def _axes(placed: Placed) -> tuple[str, str]:
    if placed.explained is None:
        return "", ""
    first, second = placed.explained
    return f"first direction ({first:.0%} of the variance)", f"second direction ({second:.0%})"
