"""Define the options for files that are made from the tables of a finished job: `avizor batch`, `avizor retry`."""

from __future__ import annotations

import click

from avizor_pipeline.derived.wanted import TABLE_NAMES


def _tables_of(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the names in a list that is separated by commas, each once. Raises BadParameter."""
    names = tuple(dict.fromkeys(name.strip() for name in (value or "").split(",") if name.strip()))
    if unknown := [name for name in names if name not in TABLE_NAMES]:
        raise click.BadParameter(f"{unknown[0]!r} is not known; choose of {', '.join(TABLE_NAMES)}", context, option)
    return names


q_values_option = click.option(
    "--q-values", is_flag=True, help="Write OUT/q_values.parquet: rates of false discoveries over the job."
)

tables_option = click.option(
    "--tables",
    metavar="LIST",
    callback=_tables_of,
    help="Write flagged windows below OUT: for sound editors `raven`, `audacity`; joined to stretches `regions`. With commas.",
)
