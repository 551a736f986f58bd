"""The same command again: it does what is new, and leaves the rest as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from integration.jobs import batch, part_digests, query
from support.sounds import SAMPLE_RATE, tone, write_wav

SECONDS = 3 * 4096 / SAMPLE_RATE


@pytest.fixture
def data(few_recordings: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(few_recordings, tmp_path / "data"))


def rows(out: Path, table: str = "recordings") -> dict[str, int]:
    """Rows of each file in a table, as a reader with a plain glob finds them."""
    counts = query(f"select uri, count(*) from '{out}/{table}/*.parquet' group by uri order by uri")
    return {Path(uri).name: count for uri, count in counts}


def test_the_same_command_again_does_the_new_files_alone(data: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(data, models, out, "--workers", "1").returncode == 0
    before = part_digests(out)
    write_wav(data / "a" / "zz.wav", tone(SECONDS, seed=7))
    again = batch(data / ".." / "data", models, out, "--workers", "1", "--json")
    assert again.returncode == 0, again.stderr
    assert "1 file is new since the last run" in again.stderr
    assert before.items() < part_digests(out).items()
    assert rows(out) == {"0.wav": 2, "1.wav": 2, "2.wav": 2, "zz.wav": 2}
    summary = json.loads(again.stdout)
    assert (summary["files"], summary["earlier_files"], summary["new_files"]) == (4, 3, 1)


def test_models_are_the_same_however_their_folder_is_spelt_and_another_folder_is_refused(
    data: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (tmp_path / "link").symlink_to(models)
    monkeypatch.chdir(tmp_path)
    assert batch(data, Path("link"), out, "--workers", "1").returncode == 0
    before = part_digests(out)
    write_wav(data / "a" / "zz.wav", tone(SECONDS, seed=7))
    again = batch(data, models, out, "--workers", "1")
    assert again.returncode == 0, again.stderr
    assert before.items() < part_digests(out).items()
    assert rows(out) == {"0.wav": 2, "1.wav": 2, "2.wav": 2, "zz.wav": 2}
    other = batch(data, Path(shutil.copytree(models, tmp_path / "other")), out)
    assert (other.returncode, "holds a job with other --models (link)" in other.stderr) == (1, True), other.stderr


@pytest.mark.slow
def test_changed_files_are_left_or_done_again_and_never_doubled(data: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(data, models, out).returncode == 0
    before = part_digests(out)
    write_wav(data / "a" / "1.wav", tone(3 * SECONDS, seed=8))
    (data / "a" / "2.wav").unlink()
    left = batch(data, models, out)
    assert left.returncode == 0, left.stderr
    assert "1 file is changed since, left as it is in the tables; --changed redo does it again" in left.stdout
    lost = "with --changed redo those that share a shard with a changed file become dead letters"
    assert f"1 file is gone; what the tables have of it stays ({lost}): {data}/a/2.wav" in left.stdout
    assert part_digests(out) == before
    dry = batch(data, models, out, "--changed", "redo", "--dry-run")
    assert "1 shard would be done again" in dry.stdout
    (data / "a" / "2.wav").write_bytes((data / "a" / "0.wav").read_bytes())
    redone = batch(data, models, out, "--changed", "redo")
    assert redone.returncode == 0, redone.stderr
    assert rows(out) == {"0.wav": 2, "1.wav": 2, "2.wav": 2}
    windows = query(f"select uri, windows from '{out}/recordings/*.parquet' where model = 'kinds' order by uri")
    assert [(Path(uri).name, count) for uri, count in windows] == [("0.wav", 2), ("1.wav", 9), ("2.wav", 2)]
    assert rows(out, "windows") == {"0.wav": 4, "1.wav": 18, "2.wav": 4}


@pytest.mark.slow
def test_the_version_that_a_job_began_with_goes_on_while_it_is_there(data: Path, models: Path, tmp_path: Path) -> None:
    own, out = Path(shutil.copytree(models, tmp_path / "models")), tmp_path / "out"
    assert batch(data, own, out).returncode == 0
    newer = shutil.copytree(own / "kinds" / "1", own / "kinds" / "2")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
    write_wav(data / "a" / "zz.wav", tone(SECONDS, seed=7))
    again = batch(data, own, out)
    assert again.returncode == 0, again.stderr
    assert "kinds: version 1 goes on, with which this job began; version 2 is served now" in again.stdout
    assert query(f"select distinct model_version from '{out}/windows/*.parquet' where model = 'kinds'") == [(1,)]
    shutil.rmtree(own / "kinds" / "1")
    gone = batch(data, own, out)
    assert gone.returncode == 1
    assert "the job began with kinds version 1, which cannot be had" in gone.stderr
    assert "put it back, or choose another --out to use the one that is served now" in gone.stderr
