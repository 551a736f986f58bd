"""docs/operations.md: its commands that calibrate a model run as they are."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.environment import ROOT
from support.sounds import tone, write_wav

from avizor_inference.calibrate_cli import calibrate
from avizor_inference.repository.models import ModelRepository

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line)[2:] for line in re.findall(r"^avizor calibrate .*", PAGE, re.MULTILINE)]


@pytest.fixture
def folder(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model and the sounds that the page names."""
    shutil.copytree(models / "normal", tmp_path / "models" / "fan")
    for file in ("config.pbtxt", "1/manifest.json"):
        path = tmp_path / "models" / "fan" / file
        path.write_text(path.read_text().replace('"normal"', '"fan"'))
    for number in range(20):
        write_wav(tmp_path / "sounds" / "normal" / "fan-1" / f"{number}.wav", tone(0.6, seed=number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_store_activate_and_roll_back(folder: Path) -> None:
    version = ModelRepository(folder / "models").version("fan")
    (first,) = version.calibrations()
    assert len(COMMANDS) == 3
    active = []
    for words in COMMANDS:
        result = CliRunner().invoke(calibrate, words)
        assert result.exit_code == 0, f"{result.output}{result.exception}"
        active.append(version.calibrations()[0].id)
    assert len(version.calibration_ids()) == 3
    assert active[0] == active[2] == first.id != active[1]
