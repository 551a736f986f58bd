"""Define `avizor verify`."""

from __future__ import annotations

import sys

import click

from avizor_inference.error_text import printable
from avizor_pipeline.cli.exit_status import EXIT_FAILED
from avizor_pipeline.reporting.progress import counted, counted_of
from avizor_pipeline.sinks.output_files import OutputPath, output_path
from avizor_pipeline.verify import Proof, verify_output

_EPILOG = """\b
Examples:
  avizor verify results
  avizor verify results --json
  avizor verify s3://bucket/results

\b
Exit codes:
  0    each planned row is there, once
  1    something is wrong, or the job is not finished
"""


@click.command(short_help="Prove that a batch job's tables are complete.", epilog=_EPILOG)
@click.argument("out", type=output_path)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify(out: OutputPath, as_json: bool) -> None:
    """Check the tables in OUT, the output folder of a batch job.

    Each part is what was written, by its digest. Each file that was planned has one row in recordings/ for each model that
    takes it, or a dead letter, and as many rows in windows/ as recordings/ says; no row is there twice. The maps of
    avizor project are of these rows. Changes nothing.
    """
    proof = verify_output(out)
    if as_json:
        click.echo(proof.model_dump_json(indent=2))
    else:
        _print(proof)
    sys.exit(EXIT_FAILED if proof.problem_count else 0)


def _print(proof: Proof) -> None:
    parts = counted(proof.parts, "part that is what was written", "parts that are what was written")
    click.echo(f"{counted_of(proof.files, proof.noun)}, {counted(proof.windows, 'row')} in windows/, {parts}")
    lost = proof.planned - proof.recordings - proof.unread
    click.echo(
        f"{counted(proof.planned, 'result')} planned ({proof.noun} x models): {proof.recordings} in recordings/, "
        f"{proof.unread} missing for {counted(proof.dead_letters, 'dead letter')}"
        + (f", {lost} neither in recordings/ nor a dead letter" if lost > 0 else "")
    )
    for problem in proof.problems:
        click.echo(f"wrong: {printable(problem)}", err=True)
    if proof.problem_count > len(proof.problems):
        click.echo(f"wrong: {proof.problem_count - len(proof.problems)} more", err=True)
    if not proof.problem_count:
        click.echo("complete: planned = recordings + dead letters, and no row is there twice")
