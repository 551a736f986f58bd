"""cli.py: options of `avizor export` that would do nothing are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.packed import png

from avizor_export.cli import export
from avizor_inference.repository.models import ModelRepository

COLUMN, PATTERN = ("--source-column", "account"), ("--source-pattern", "([a-z]+)_")


def test_items_and_constants_come_from_the_first_files_of_a_list_on_standard_input(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number, (8, 8)))
    listed = "".join(f"{tmp_path / name}\n" for name in ("0.png", "1.png", "gone.png", "2.png"))
    asked = ["torch.nn:ReLU", "--weights-in-factory", "--name", "m", "--task", "reconstruct"]
    asked += ["--models", str(tmp_path / "models"), "--input", "image:height=8,width=8,channels=1"]
    asked += ["--items", "-", "--fit-on", "-"]
    exported = CliRunner().invoke(export, [*asked, "--limit", "2"], input=listed)
    assert exported.exit_code == 0, exported.output
    probe = ModelRepository(tmp_path / "models").version("m").probe()
    assert probe
    assert len(probe.items) == 2
    refused = CliRunner().invoke(export, asked, input=listed)
    assert "gone.png" in str(refused.exception)
    for nothing in (["--limit", "2"], ["--limit", "2", "--evaluate-on", str(tmp_path)]):
        run = CliRunner().invoke(export, [*asked[:-4], *nothing])
        assert "Invalid value for --limit: is about the data that is read, and none is given" in " ".join(run.output.split())


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
