"""Define `avizor report`."""

from __future__ import annotations

from pathlib import Path

import click

from avizor_review.report.write import write_report
from avizor_review.results import Results

_EPILOG = """\b
Examples:
  avizor report results
  avizor report results --alpha 0.01 --items 100 --out monday.html
  avizor report results --models /srv/models

Exit code: 0 written, 1 the results cannot be read or the file cannot be written, 2 wrong usage."""


@click.command(epilog=_EPILOG, short_help="One HTML page of what a job found.")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="File to write.")
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the job's models, for error maps and the calibration.  [default: the one that the job used]",
)
@click.option("--alpha", type=float, metavar="A", help="Share of false alarms that the page begins with.  [default: the job's]")
@click.option(
    "--items",
    type=click.IntRange(0, 1000),
    default=40,
    show_default=True,
    help="Most unusual items of each model that are shown; fewer if the page would grow over 20 MiB.",
)
@click.option(
    "--answers",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The answers of `avizor review`, if they are kept elsewhere.  [default: (RESULTS/answers.jsonl)]",
)
def report(results: Path, out: Path, models: Path | None, alpha: float | None, items: int, answers: Path | None) -> None:
    """Sum up the job in the folder RESULTS in one HTML file that opens without a network.

    It holds the job in figures, each source's flagged share against alpha with its interval, the scores beside the
    calibration's, a timeline, the most unusual items with picture and sound, classes, maps of embeddings, what could not be
    read, and the models' cards. Nothing in RESULTS is changed.
    """
    with Results.open(results) as opened:
        size = write_report(opened, out, models, alpha, items, answers)
    click.echo(f"written: {out} ({size / 2**20:.1f} MiB)")
