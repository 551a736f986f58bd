"""`avizor models`: one aligned row a model, whatever is wrong with another."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from avizor_inference.cli import age
from avizor_inference.cli import models as command

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=59), "new"),
        (timedelta(minutes=1), "1 minute old"),
        (timedelta(minutes=119), "1 hour old"),
        (timedelta(hours=47), "1 day old"),
        (timedelta(days=400), "400 days old"),
        (timedelta(hours=-3), "from the future"),
    ],
)
def test_age_is_told_in_the_largest_unit_that_fits(ago: timedelta, text: str) -> None:
    assert age(NOW - ago, NOW) == text
    assert age((NOW - ago).replace(tzinfo=None), NOW) == text


def test_a_broken_model_keeps_its_row_and_the_others_stay_aligned(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models, tmp_path / "models"))
    path = folder / "normal" / "1" / "calibration.json"
    calibration = json.loads(path.read_text())
    calibration["created"] = (datetime.now(UTC) - timedelta(days=3, hours=1)).isoformat()
    path.write_text(json.dumps(calibration))
    (folder / "digits" / "1" / "manifest.json").write_text("{}")
    lines = CliRunner().invoke(command, ["--models", str(folder)]).output.splitlines()
    header, rows = lines[0], {line.split()[0]: line for line in lines[1:5]}
    starts = {name: header.index(name) for name in header.split()}
    assert list(starts) == ["name", "task", "input", "versions", "precision", "size", "sha256", "parity", "calibration"]
    assert rows["digits"][starts["task"] :].split() == ["UNUSABLE", *"-" * 7]
    assert rows["normal"][starts["calibration"] :] == "60 recordings, 3 days old"
    assert rows["normal"][starts["task"] :].startswith("reconstruct  waveform float32[N,4096]")
    assert rows["kinds"][starts["calibration"] :] == "none"
    assert lines[5].startswith("digits: ")
    assert "manifest.json is not a manifest" in lines[5]
    assert len(lines) == 6
