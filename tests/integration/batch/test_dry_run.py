"""A dry run tells what the run then does: rows exactly, bytes nearly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from integration.jobs import AVIZOR, batch, files_below
from PIL import Image
from support.sounds import tone, write_wav
from support.warm_starts import warm_run


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


def test_pictures_and_rows_that_cannot_be_read_are_counted(models: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.new("L", (40, 40), number).save(pictures / f"{number}.png")
    (pictures / "junk.png").write_text("no picture")
    Image.new("I", (40, 40)).save(pictures / "32.tif")
    Image.new("L", (9, 9)).save(pictures / "two.gif", save_all=True, append_images=[Image.new("L", (9, 9), 255)])
    table = tmp_path / "rows.csv"
    table.write_text("amount,hour,country\n1,2,ES\n1,much,ES\n1,2\n,,\n3,4,FR\n")
    for data, model, dead in ((pictures, "digits", 3), (table, "transfers", 3)):
        job = [str(AVIZOR), "batch", str(data), "--models", str(models), "--model", model, "--out", str(tmp_path / model)]
        job += ["--alpha", "0.1", "--json"]
        told = json.loads(warm_run([*job, "--dry-run"]).stdout)
        run = warm_run(job)
        assert run.returncode == 3, run.stderr
        done = json.loads(run.stdout)
        assert (told["files"], told["items"], told["unreadable"]) == (done["files"], done["windows"], dead)
        assert (told["windows"], done["dead_letters"]) == (done["windows"], dead)


def test_files_that_are_gone_count_by_what_the_tables_have_of_them(models: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for number in range(4):
        write_wav(data / "a" / f"{number}.wav", tone(1.0 + number, seed=number))
    (data / "a" / "broken.wav").write_bytes(b"RIFF")
    assert batch(data, models, out).returncode == 3
    (data / "a" / "1.wav").unlink()
    (data / "a" / "3.wav").unlink()
    before = json.loads((out / "summary.json").read_text())
    done = batch(data, models, out, "--dry-run").stdout
    windows = before["windows"]
    assert f"4 items, {windows} window rows, by the records of finished shards\n1 dead letter in finished shards\n" in done
    assert "without a header" not in done
    write_wav(data / "a" / "new.wav", tone(1.5, seed=9))
    told = json.loads(batch(data, models, out, "--dry-run", "--json").stdout)
    assert (told["files"], told["items"], told["unreadable"], told["shards_left"]) == (6, 5, 0, 1)
    assert (told["finished_items"], told["finished_dead_letters"]) == (4, 1)
    run = batch(data, models, out, "--json")
    after = json.loads(run.stdout)
    assert (told["windows"], after["files"]) == (after["windows"], 6)
    assert (run.returncode, after["dead_letters"], after["earlier_dead_letters"]) == (3, 1, 1)
    assert "1 file could not be read, in earlier runs: see " in batch(data, models, out).stdout
    (data / "a" / "cut.wav").write_bytes(b"RIFF")
    assert "2 files could not be read, 1 of them in earlier runs: see " in batch(data, models, out).stdout


@pytest.mark.slow
def test_shards_of_the_sample_are_of_the_whole_dataset(models: Path, tmp_path: Path) -> None:
    """Five shards for one worker, which runs three: short files come first, and then those with 40 times the windows."""
    for number in range(320):
        write_wav(tmp_path / "data" / "a" / f"{number:03d}.wav", tone(0.5 if number < 192 else 20, seed=number))
    dry = batch(tmp_path / "data", models, tmp_path / "out", "--dry-run", "--json", "--workers", "1")
    told = json.loads(dry.stdout)
    assert (told["shards_left"], told["shards_run"]) == (5, 3)
    assert batch(tmp_path / "data", models, tmp_path / "out").returncode == 0
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert abs(told["bytes"] - written) < 0.15 * written


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
