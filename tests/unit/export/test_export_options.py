"""cli.py: options of `avizor export` that would do nothing are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from avizor_export.cli import export

COLUMN, PATTERN = ("--source-column", "account"), ("--source-pattern", "([a-z]+)_")


@pytest.mark.parametrize(
    ("calibrate", "given", "message"),
    [
        (None, COLUMN, "Invalid value for --source-column: finds the sources of --calibrate's rows: give --calibrate too"),
        (None, PATTERN, "Invalid value for --source-pattern: finds the sources of --calibrate's files: give --calibrate too"),
        ("sounds", COLUMN, "Invalid value for --source-column: names a column of a table"),
        ("rows.npy", COLUMN, "Invalid value for --source-column: names a column of a table"),
        ("rows.csv", PATTERN, "Invalid value for --source-pattern: is searched in the paths of a folder's files"),
        ("rows.npy", PATTERN, "Invalid value for --source-pattern: is searched in the paths of a folder's files"),
    ],
)
def test_sources_of_nothing(calibrate: str | None, given: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "rows.npy").touch()
    (tmp_path / "rows.csv").touch()
    asked = ["fc8 latent2", "--name", "m", "--task", "reconstruct", "--models", str(tmp_path / "models"), *given]
    if calibrate is not None:
        asked += ["--calibrate", str(tmp_path / calibrate)]
    run = CliRunner().invoke(export, asked)
    assert run.exit_code == 2
    assert message in " ".join(run.output.split())
