"""A job that is killed after any change that it makes on the disk is resumed to the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.scripts import crash_points
from support.sounds import tone, write_wav

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scenario", ["batch", "redo", "retry"])
def test_every_crash_point_is_survived(models: Path, tmp_path: Path, scenario: str) -> None:
    """`batch`: a first run. `redo`: a later one, with a new file and changed ones. `retry`: of two dead letters."""
    data = tmp_path / "data"
    for number in range(70):  # two shards
        write_wav(data / "a" / f"{number:02d}.wav", tone(0.6, seed=number))
    for number in (3, 66):
        (data / "a" / f"{number:02d}.wav").write_text("no sound")
    script = [sys.executable, crash_points.__file__, scenario, data, models, tmp_path]
    result = subprocess.run(list(map(str, script)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["wrong"] == [], result.stderr
    assert {"fsync", "replace", "write_text", "write_table", "unlink" if scenario != "batch" else "mkdir"} <= set(
        found["points"]
    )
    assert sum(found["points"].values()) > 40
