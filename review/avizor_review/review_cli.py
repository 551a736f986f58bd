"""Define `avizor review`: see, hear and answer what a job flagged, on a page of this machine."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import duckdb  # noqa: F401 - where it is missing, `avizor` names the extra that brings it

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.error_text import counted
from avizor_inference.finite_range import FiniteRange
from avizor_inference.items.file_access import name_of
from avizor_inference.review_answers import ANSWERS_FILE, MOST_NAME, AnswerFile

if TYPE_CHECKING:
    from avizor_review.exports import ExportFormat
    from avizor_review.results import Results

_GROUPS = {
    "What is shown": ("models", "alpha", "review_sample"),
    "Answers": ("answers", "reviewer", "export"),
    "Listening": ("host", "port", "names", "token_file", "tls_certificate", "tls_key"),
}

_EXAMPLES = """\b
Examples:
  avizor review results
  avizor review results --review-sample 2000
  avizor review results --export csv answers.csv
  avizor review results --export raven selections
"""

_FILE = click.Path(path_type=Path)


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
    short_help="See, hear and answer what a job flagged, in a browser.",
    epilog=_EXAMPLES,
    context_settings={"show_default": True},
)
@click.argument("results", type=_FILE)
@click.option("--models", type=_FILE, show_default="the job's", help="The model repository, for the error maps.")
@click.option("--alpha", type=FiniteRange(0, 1, True, True), show_default="the job's", help="Flag at this alpha.")
@click.option(
    "--review-sample",
    metavar="N",
    type=click.IntRange(min=1),
    show_default="all items",
    help="Show only a random N of the job's items, as `avizor calibrate --from-review --review-sample N` takes them.",
)
@click.option("--answers", metavar="FILE", type=_FILE, show_default="RESULTS/answers.jsonl", help="Where answers are kept.")
@click.option(
    "--reviewer", metavar="NAME", show_default="your user name", help="Who answers, unless the page says another one."
)
@click.option(
    "--export",
    metavar="csv|labels|raven|audacity OUT",
    type=(click.Choice(["csv", "labels", "raven", "audacity"]), _FILE),
    help="Write the answers to OUT and end: a file, or a folder for sound editors.",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on; any but this machine's own takes a token and TLS.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, help="Port to listen on; 0 for any free one.")
@click.option("--name", "names", metavar="HOST", multiple=True, help="A name by which browsers may call this server.")
@click.option("--token-file", metavar="FILE", type=_FILE, help="File with the token that a reviewer has to give.")
@click.option("--tls-certificate", metavar="FILE", type=_FILE, help="Certificate in PEM.")
@click.option("--tls-key", metavar="FILE", type=_FILE, help="Its key in PEM, without a password.")
def review(
    results: Path,
    models: Path | None,
    alpha: float | None,
    review_sample: int | None,
    answers: Path | None,
    reviewer: str | None,
    export: tuple[ExportFormat, Path] | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    token_file: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
) -> None:
    """Show what the job in RESULTS flagged, and keep what is answered: normal, abnormal or unsure, with a note.

    RESULTS is the --out of `avizor batch` or `avizor watch`, or the --keep-flagged of `avizor serve`. Answers are appended to a
    file beside the results, and nothing else is written.
    """
    from avizor_review.media.media import Media
    from avizor_review.page.address import Listening, bound  # duckdb and the server are only needed when it runs
    from avizor_review.page.app import ReviewApp
    from avizor_review.page.listing import Listing, Wanted
    from avizor_review.page.looks import Looks
    from avizor_review.page.serving import serve
    from avizor_review.results import Results

    with Results.open(results) as opened:
        file = AnswerFile(answers or results / ANSWERS_FILE)
        if export:
            _export(opened, file, export[0], export[1])
            return
        listening = Listening.of(host, port, names, token_file, tls_certificate, tls_key)
        who = _reviewer(reviewer)
        file.check_writable()
        with bound(listening) as listener, Media(opened, models) as media:
            default = Wanted(alpha=alpha, sample=review_sample)
            app = ReviewApp(name_of(str(results)), Listing(opened), Looks(opened, media), file, default, who)
            url = listening.url(listener.getsockname()[1])
            serve(app.asgi(), listening, listener, lambda: click.echo(f"reviewing {results} on {url} (Ctrl-C ends)"))


def _export(results: Results, file: AnswerFile, format: ExportFormat, out: Path) -> None:
    from avizor_review.exports import export_answers

    done = export_answers(results.tables, file.answers(), format, out)
    what = {"csv": ("answer", "answers"), "labels": ("labelled file", "labelled files")}
    written = counted(done.written, *what.get(format, ("file of labels", "files of labels")))
    click.echo(f"{written} in {out}" + (f"; {done.left_out} left out" if done.left_out else ""))


def _reviewer(given: str | None) -> str:
    """Return the name of who answers. Raises BadParameter."""
    if given is None:
        try:
            given = getpass.getuser()
        except (KeyError, OSError):  # a user without a name, as in containers
            given = "reviewer"
    name = " ".join(given.split())
    if not 0 < len(name) <= MOST_NAME:
        raise click.BadParameter(f"give a name of at most {MOST_NAME} characters", param_hint="--reviewer")
    return name
