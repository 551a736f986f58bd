"""Define the options that every command has which begins a job: `avizor batch`, `avizor watch`."""

from __future__ import annotations

from pathlib import Path

import click

from avizor_inference.cli_option_groups import Command, with_options
from avizor_inference.model_options import device_option, engine_option
from avizor_pipeline.cli.wanted_options import q_values_option, tables_option
from avizor_pipeline.models import CPU_BATCH_SIZE, DEFAULT_BATCH_SIZE

_path = click.Path(path_type=Path)


def model_options(command: Command) -> Command:
    """Add which models run, and at which alpha they judge."""
    return with_options(
        command,
        click.option("--models", "repository", type=_path, default=Path("models"), help="Folder of the model repository."),
        click.option(
            "--model", "models", metavar="NAME", multiple=True, required=True, help="Model to run; repeat it for several."
        ),
        click.option("--alpha", metavar="SHARE", type=float, default=0.01, help="Promised share of false alarms, 0 to 1."),
        click.option(
            "--confidence",
            metavar="SHARE",
            type=float,
            show_default="alpha is kept on average over calibrations",
            help="Probability with which this calibration keeps alpha, e.g. 0.95.",
        ),
    )


def output_options(command: Command) -> Command:
    """Add what is written beside the rows of each window."""
    return with_options(
        command,
        click.option(
            "--top-k", metavar="K", type=click.IntRange(min=1), default=3, help="Classes in the column top_k of windows/."
        ),
        click.option("--embeddings", is_flag=True, help="Write the embedding of each window, for models with that output."),
        click.option(
            "--reconstructions", metavar="DIR", type=_path, help="Write what autoencoders make of items there, as PNG or WAV."
        ),
        q_values_option,
        tables_option,
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, as OUT/summary.json holds it."),
    )


def engine_options(command: Command) -> Command:
    """Add what runs the models, and how many windows at once."""
    return with_options(
        command,
        engine_option("the models", "in each worker"),
        device_option,
        click.option(
            "--batch-size",
            metavar="N",
            type=click.IntRange(min=1),
            show_default="by config.pbtxt: tuned, else the largest preferred, "
            f"else {DEFAULT_BATCH_SIZE}, or {CPU_BATCH_SIZE} with ort on a CPU",
            help="Windows in one run of a model.",
        ),
    )
