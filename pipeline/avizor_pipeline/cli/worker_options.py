"""Define the options of commands that run workers: `avizor batch`, `avizor retry`."""

from __future__ import annotations

import click

from avizor_pipeline.runners.local import FILE_TIMEOUT_S, available_cores

workers_option = click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    default=available_cores,
    show_default="one for each core",
    help="Worker processes.",
)

file_timeout_option = click.option(
    "--file-timeout-s",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    default=FILE_TIMEOUT_S,
    help="Seconds without anything new from a file's decoder, after which the file is a dead letter.",
)
