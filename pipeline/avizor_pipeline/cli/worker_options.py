"""Define the options of commands that run workers: `avizor batch`, `avizor retry`."""

from __future__ import annotations

import click

from avizor_pipeline.engine_wait import ENGINE_WAIT_S
from avizor_pipeline.failure_limit import FILES_BEFORE_STOP
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

engine_wait_option = click.option(
    "--engine-wait-s",
    metavar="S",
    type=click.FloatRange(min=0),
    default=ENGINE_WAIT_S,
    help="Seconds for which an engine that goes away while the job runs is waited for.",
)

max_failed_option = click.option(
    "--max-failed",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    show_default="any share",
    help=f"Stop if more than this share of files cannot be read: after {FILES_BEFORE_STOP} files of the run, and at its end.",
)
