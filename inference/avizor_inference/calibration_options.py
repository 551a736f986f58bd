"""Check what `avizor export --calibrate` and `avizor calibrate --data` both take: normal data, and where its sources are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from avizor_inference.items.data.item_files import is_table
from avizor_inference.items.data.tar_files import TAR_SUFFIXES
from avizor_inference.items.dataset import Columns, is_listing
from avizor_inference.items.find_files import suffix_of
from avizor_inference.items.input_spec import InputSpec, has_channels
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.manifest import FITTED, Manifest


def check_sources(data: Path | None, option: str, pattern: str, columns: Columns) -> None:
    """Raise click.BadParameter for an option of `source_options` that would have no effect. option: that of the data."""
    if data is None:
        _refuse(pattern, "--source-pattern", f"finds the sources of {option}'s files: give {option} too")
        _refuse(columns.source, "--source-column", f"finds the sources of {option}'s rows: give {option} too")
        return
    if not (is_table(data) or columns.bytes):
        _refuse(columns.source, "--source-column", f"names a column of a table; give a .csv or .parquet file to {option}")
    if data.is_file() and not (is_listing(data) or suffix_of(data) in TAR_SUFFIXES or columns.path):
        _refuse(pattern, "--source-pattern", f"is searched in the paths of a folder's files, and {option} is one file")


def check_columns(data: Mapping[str, Path], columns: Columns) -> None:
    """Raise click.BadParameter for a column of paths or bytes that none of the data has. data: by its option."""
    options = " or ".join(data) or "an option for data"
    if not any(map(is_table, data.values())):
        _refuse(columns.path, "--path-column", f"names a column of a table that lists files; give such a file to {options}")
    if not any(path.suffix.lower() == ".parquet" or is_listing(path) for path in data.values()):
        _refuse(columns.bytes, "--bytes-column", f"names a column of Parquet files; give such a file or folder to {options}")
    if columns.path:
        _refuse(columns.bytes, "--bytes-column", "holds the files, and --path-column their paths; give one of them")


def check_limit(data: Mapping[str, Path], limit: int | None) -> None:
    """Raise click.BadParameter for a limit of nothing."""
    if not data:
        _refuse(limit, "--limit", "is about the data that is read, and none is given")


def check_channels(channels: ChannelMode, spec: InputSpec) -> None:
    """Raise click.BadParameter if there are no channels of which some could be taken."""
    if not has_channels(spec) and channels != "each":
        raise click.BadParameter("is about sound, for models that take one channel at a time", param_hint="--channels")


def warn_of_one_window_recordings(data: Path, spec: InputSpec) -> None:
    """Print a warning if each item of a .npy file counts as a recording, and the model takes longer ones too."""
    content = spec.file_content()
    if data.suffix == ".npy" and spec.window_format() and content:
        click.echo(
            "Warning: each item of a .npy file counts as a recording of one window; calibrate with a folder of "
            f"{content.plural} to judge longer recordings.",
            err=True,
        )


def note_fitted(manifest: Manifest) -> None:
    """Print a note that items which `avizor fit` trained with are no calibration: they are in the same folder as others."""
    if manifest.provenance.factory.startswith(FITTED):  # or `avizor fit --improve`
        click.echo(
            f"Note: {manifest.name} is of `avizor fit`: the items that it trained with may not be among these. Their scores "
            "are too low, and more than alpha of new items would be flagged. Give items that were not in the fit's folder.",
            err=True,
        )


def _refuse(value: object, option: str, reason: str) -> None:
    if value:
        raise click.BadParameter(reason, param_hint=option)
