"""Check what `avizor export --calibrate` and `avizor calibrate --data` both take: normal data, and where its sources are."""

from __future__ import annotations

from pathlib import Path

import click

from avizor_inference.items.data.item_files import is_table
from avizor_inference.items.input_spec import InputSpec


def check_sources(data: Path | None, option: str, pattern: str, column: str) -> None:
    """Raise click.BadParameter if --source-pattern or --source-column would have no effect. option: that of the data."""
    if data is None:
        _refuse(pattern, "--source-pattern", f"finds the sources of {option}'s files: give {option} too")
        _refuse(column, "--source-column", f"finds the sources of {option}'s rows: give {option} too")
        return
    if not is_table(data):
        _refuse(column, "--source-column", f"names a column of a table; give a .csv or .parquet file to {option}")
    if data.is_file():
        _refuse(pattern, "--source-pattern", f"is searched in the paths of a folder's files, and {option} is one file")


def warn_of_one_window_recordings(data: Path, spec: InputSpec) -> None:
    """Print a warning if each item of a .npy file counts as a recording, and the model takes longer ones too."""
    content = spec.file_content()
    if data.suffix == ".npy" and spec.window_format() and content:
        click.echo(
            "Warning: each item of a .npy file counts as a recording of one window; calibrate with a folder of "
            f"{content.plural} to judge longer recordings.",
            err=True,
        )


def _refuse(value: str, option: str, reason: str) -> None:
    if value:
        raise click.BadParameter(reason, param_hint=option)
