"""Define `avizor neighbours`."""

from __future__ import annotations

from typing import Any

import click

from avizor_inference.error_text import printable, short_name
from avizor_inference.finite_range import FiniteRange
from avizor_pipeline.projection.methods import Metric
from avizor_pipeline.projection.similar import Neighbour, find_neighbours
from avizor_pipeline.sinks.output_files import OutputPath, output_path

_EPILOG = """\b
Examples:
  avizor neighbours results sounds/pump/0012.wav
  avizor neighbours results sounds/pump/0012.wav --start 3.5 -k 20
"""


@click.command(short_help="Find the items most similar to one.", epilog=_EPILOG, context_settings={"show_default": True})
@click.argument("results", type=output_path)
@click.argument("item")
@click.option("-k", "k", metavar="N", type=click.IntRange(1, 10_000), default=10, help="Number of items.")
@click.option("--model", metavar="NAME", help="Model, where several have embeddings.")
@click.option(
    "--metric",
    type=click.Choice(["cosine", "euclidean"]),
    show_default="cosine for a classifier, else euclidean",
    help="Distance of embeddings.",
)
@click.option("--window", metavar="N", type=click.IntRange(min=0), help="Compare this window of a recording, from 0.")
@click.option(
    "--start", "start_s", metavar="SECONDS", type=FiniteRange(min=0), help="Compare the last window that begins by then."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def neighbours(
    results: OutputPath,
    item: str,
    k: int,
    model: str | None,
    metric: Metric | None,
    window: int | None,
    start_s: float | None,
    as_json: bool,
) -> None:
    """Find the items of RESULTS that are most similar to ITEM, by the embeddings of a job that ran with --embeddings.

    ITEM is a `uri` of the results. A recording has several windows: it is compared by all of them, or by the one that --window
    or --start names. Each item counts by its nearest window.
    """
    if window is not None and start_s is not None:
        raise click.UsageError("--window and --start name both a window; give one of them")
    found = find_neighbours(results, item, k, model, metric, window, start_s)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    click.echo(f"{found.metric} distance to {printable(found.uri)} by {found.model}, {found.windows} of its windows compared")
    rows = [["distance", "label, probability", "score", "source", "start", "uri"], *map(_cells, found.neighbours)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cells(found: Neighbour) -> list[str]:
    label = "-" if found.label is None else f"{short_name(found.label)} {_number(found.probability, '.2f')}"
    score = _number(found.score, ".4g") + (" anomaly" if found.is_anomaly else "")
    start = "-" if found.start_s is None else f"{found.start_s:.2f} s"
    return [f"{found.distance:.4f}", label, score, short_name(found.source), start, printable(found.uri)]


def _number(value: Any, format: str) -> str:
    return "-" if value is None else f"{value:{format}}"
