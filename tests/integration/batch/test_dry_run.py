"""A dry run tells what the run then does: rows exactly, bytes nearly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from integration.jobs import batch, files_below
from support.sounds import tone, write_wav


def test_a_dry_run_tells_the_rows_and_bytes_of_the_run(models: Path, tmp_path: Path) -> None:
    """170 files, which are three shards, of other lengths, rates, channels and containers; one has no header."""
    rng = np.random.default_rng(0)
    for number in range(160):
        write_wav(tmp_path / "data" / "a" / f"{number}.wav", tone(float(rng.uniform(0.2, 2.0)), seed=number))
    for number, (rate, suffix) in enumerate([(44100, "wav"), (22050, "flac"), (11025, "ogg"), (16000, "mp3"), (48000, "aiff")]):
        stereo = tone(1.0 + number / 7, seed=number)[:, None].repeat(2, axis=1)
        for copy in "xy"[: 1 if suffix == "ogg" else 2]:
            soundfile.write(tmp_path / "data" / "a" / f"{copy}{number}.{suffix}", stereo, rate)
    (tmp_path / "data" / "a" / "broken.wav").write_bytes(b"RIFF but not for long")
    before = files_below(tmp_path)
    dry = batch(tmp_path / "data", models, tmp_path / "out", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert files_below(tmp_path) == before
    told = json.loads(dry.stdout)
    run = batch(tmp_path / "data", models, tmp_path / "out", "--json")
    assert run.returncode == 3, run.stderr
    done = json.loads(run.stdout)
    assert (told["files"], told["unreadable"], told["unknown"]) == (done["files"], 1, 0)
    assert (told["items"], told["windows"]) == (done["files"] - done["dead_letters"], done["windows"])
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert abs(told["bytes"] - written) < 0.15 * written
    again = batch(tmp_path / "data", models, tmp_path / "out", "--dry-run")
    assert "nothing is left to do" in again.stdout


@pytest.mark.slow
def test_a_dry_run_of_a_larger_job_runs_some_shards_only(models: Path, many_recordings: Path, tmp_path: Path) -> None:
    """Seven shards, of which one worker runs three."""
    dry = batch(many_recordings, models, tmp_path / "out", "--dry-run", "--json", "--workers", "1")
    assert dry.returncode == 0, dry.stderr
    told = json.loads(dry.stdout)
    assert (told["shards_left"], told["shards_run"], told["windows"]) == (7, 3, 2 * 400 * 6)
    assert told["seconds"] > 0
    run = batch(many_recordings, models, tmp_path / "out", "--json")
    assert json.loads(run.stdout)["windows"] == told["windows"]
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert abs(told["bytes"] - written) < 0.15 * written
