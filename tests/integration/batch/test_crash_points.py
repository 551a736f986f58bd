"""A job that is killed after any change that it makes on the disk is resumed to the same bytes."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.scripts import crash_points
from support.sounds import tone, write_long_wav, write_wav

pytestmark = pytest.mark.slow


SCRIPT = [sys.executable, crash_points.__file__]


@pytest.mark.parametrize("scenario", ["batch", "redo", "retry"])
def test_every_crash_point_is_survived(models: Path, tmp_path: Path, scenario: str) -> None:
    """`batch`: a first run. `redo`: a later one, with a new file and changed ones. `retry`: of two dead letters."""
    data = tmp_path / "data"
    for number in range(70):  # two shards
        write_wav(data / "a" / f"{number:02d}.wav", tone(0.6, seed=number))
    for number in (3, 66):
        (data / "a" / f"{number:02d}.wav").write_text("no sound")
    found = survived([*SCRIPT, scenario, data, models, tmp_path])
    assert {"fsync", "replace", "write_table", "unlink" if scenario != "batch" else "mkdir"} <= set(found)
    assert sum(found.values()) > 40


@pytest.mark.parametrize("scenario", ["batch", "redo", "retry"])
def test_every_crash_point_of_a_job_of_long_files_is_survived(models: Path, tmp_path: Path, scenario: str) -> None:
    """One file of three sections, one whose second section cannot be read, and one that cannot be opened."""
    data = tmp_path / "data"
    write_long_wav(data / "a" / "0.wav", seconds=40)
    dead = write_long_wav(data / "a" / "1.wav", seconds=40, seed=1)
    with dead.open("r+b") as file:
        file.seek(dead.stat().st_size // 2 // 8 * 8)
        file.write(struct.pack("<d", math.nan) * 4)
    (data / "a" / "2.wav").write_text("no sound")
    found = survived([*SCRIPT, scenario, data, models, tmp_path])
    assert {"fsync", "replace", "write_table", "unlink", "rmdir"} <= set(found)


def survived(script: list[object]) -> dict[str, int]:
    """Return how many crash points of each kind there were, all of which have been survived."""
    result = subprocess.run(list(map(str, script)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["wrong"] == [], result.stderr
    points: dict[str, int] = found["points"]
    return points
