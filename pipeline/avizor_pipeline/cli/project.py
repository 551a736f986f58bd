"""Define `avizor project`."""

from __future__ import annotations

from typing import Any

import click

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.finite_range import FiniteRange
from avizor_inference.this_machine import usable_cores
from avizor_pipeline.projection.colours import COLOURS
from avizor_pipeline.projection.project import MOST_POINTS, ProjectionRequest, project
from avizor_pipeline.projection.write import ProjectionReport
from avizor_pipeline.sinks.output_files import OutputPath, output_path

_GROUPS = {
    "Map": ("model", "method", "metric", "perplexity", "place_in", "most", "seed", "threads"),
    "Labels and pictures": ("label", "label_pattern", "colours", "pictures"),
    "Output": ("as_json",),
}

_EPILOG = """\b
Examples:
  avizor project results
  avizor project results --label truth.csv --color label --color source
  avizor project tuesday --place-in monday

\b
Exit codes:
  0    the map is written
  1    failed: no embeddings, an unfinished job, too few points
  2    wrong usage
"""

# With more threads, sums are added in an order that changes from run to run.
_MOST_THREADS = 2


@click.command(
    "project",
    cls=GroupedCommand,
    groups=_GROUPS,
    short_help="Draw the embeddings of a batch job as a map.",
    epilog=_EPILOG,
    context_settings={"show_default": True},
)
@click.argument("results", type=output_path)
@click.option("--model", metavar="NAME", help="Model, where several have embeddings.")
@click.option(
    "--method", type=click.Choice(["tsne", "pca", "umap"]), default="tsne", help="How two columns are made; umap if installed."
)
@click.option(
    "--metric",
    type=click.Choice(["cosine", "euclidean"]),
    show_default="cosine for a classifier, else euclidean",
    help="Which embeddings are near each other.",
)
@click.option(
    "--perplexity",
    metavar="N",
    type=FiniteRange(min=1),
    show_default="30, or fewer for few points",
    help="About how many neighbours of a point t-SNE keeps.",
)
@click.option(
    "--place-in", metavar="OLD", help="Results with a map, or its .npz file: points are placed there, and old ones stay."
)
@click.option(
    "--sample",
    "most",
    metavar="N",
    type=click.IntRange(min=3),
    default=MOST_POINTS,
    help="Windows at most; of more, so many are drawn at random.",
)
@click.option("--seed", metavar="N", type=click.IntRange(0, 2**31 - 1), default=0, help="Of the random start and sample.")
@click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    default=min(_MOST_THREADS, usable_cores()),
    show_default="2",
    help="Threads; with more than two, two runs may differ.",
)
@click.option(
    "--label",
    metavar="WHAT",
    show_default="predicted, or else source",
    help="Label of a point: `predicted`, `source`, or a .csv or .parquet file with columns uri (or path) and label.",
)
@click.option("--label-pattern", metavar="REGEX", default="", help="The label is the first group of this, searched in the uri.")
@click.option(
    "--color",
    "colours",
    type=click.Choice(COLOURS),
    multiple=True,
    show_default="label, or else verdict, score, source",
    help="Draw a picture coloured by this; repeat it for several.",
)
@click.option("--pictures/--no-pictures", default=True, help="Draw PNG files. Needs matplotlib.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, as projection/ holds it.")
def project_command(results: OutputPath, as_json: bool, colours: tuple[Any, ...], **request: Any) -> None:
    """Make a map of the embeddings in RESULTS, the output folder of a job that ran with --embeddings.

    Writes RESULTS/projection/MODEL-METHOD.parquet (x and y of each window), a picture, and a report of how far to trust them;
    and RESULTS/maps/MODEL-METHOD.npz, in which later jobs can be placed. projection/ is removed when the job is run again, and
    maps/ stays.
    """
    report = project(results, ProjectionRequest(colours=tuple(dict.fromkeys(colours)), **request))
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        for line in _lines(report):
            click.echo(line)


def _lines(report: ProjectionReport) -> list[str]:
    trust, knn = report.trust, report.trust.knn_accuracy
    drawn = f", drawn at random of {report.windows:,}" if report.points < report.windows else ""
    settings = [f"seed {report.seed}", *[f"perplexity {report.perplexity:g}"] * (report.method == "tsne")]
    by = f"{report.method} of {report.dimensions} numbers by the {report.metric} distance"
    working = f"in {report.directions} directions of most variance ({', '.join(settings)})"
    lines = [f"{report.points:,} windows{drawn}: {by}, {working}"]
    if report.placed_in:
        lines.append(f"placed in the map of {report.placed_in}: {report.kept:,} windows were there, and have not moved")
    if report.explained:
        lines.append(f"x and y hold {sum(report.explained):.1%} of the variance")
    lines.append(
        f"trustworthiness {trust.trustworthiness:.4f}, continuity {trust.continuity:.4f} (1 is best; {trust.k} neighbours of "
        f"{trust.points:,} points among all)"
    )
    if knn:
        lines.append(
            f"{trust.k} nearest neighbours have the label of their point: {knn.before:.1%} before, {knn.after:.1%} in the map "
            f"({knn.classes} labels, {knn.labels}; the most frequent one {knn.most_frequent:.1%})"
        )
        if knn.labels == "predicted":
            lines.append("these labels come from the embeddings themselves: name true ones by --label FILE to judge the model")
    lines += [f"{report.out}/{name}" for name in (report.table, *report.pictures, report.map)]
    return [*lines, f"{report.seconds:.1f} s"]
