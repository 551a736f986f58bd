"""Files that could not be read: done again after a fix, and a job that has too many of them stops."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.jobs import AVIZOR, batch, committed, part_digests, query
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

SECONDS = 3 * 4096 / SAMPLE_RATE


def avizor(command: str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return warm_run([str(AVIZOR), command, str(out), *more])


def dead(out: Path) -> list[str]:
    return [Path(uri).name for (uri,) in query(f"select uri from '{out}/dead_letters/*.parquet' order by uri")]


def test_dead_letters_are_done_again_after_a_fix_and_no_row_is_doubled(
    few_recordings: Path, models: Path, tmp_path: Path
) -> None:
    data, out = Path(shutil.copytree(few_recordings, tmp_path / "data")), tmp_path / "out"
    for name in ("broken", "cut"):
        (data / "a" / f"{name}.wav").write_text("no sound")
    assert batch(data, models, out, "--workers", "1").returncode == 3
    results = {name: digest for name, digest in part_digests(out).items() if not name.startswith("dead_letters")}
    write_wav(data / "a" / "broken.wav", tone(SECONDS, seed=5))
    again = avizor("retry", out, "--workers", "1", "--json")
    assert again.returncode == 3, again.stderr
    assert "2 files are done again, of 5" in again.stderr
    assert json.loads(again.stdout)["dead_letters"] == 1
    assert results.items() < part_digests(out).items()  # parts with results are not touched
    assert dead(out) == ["cut.wav"]
    counts = query(f"select uri, count(*) from '{out}/recordings/*.parquet' group by uri order by uri")
    assert [(Path(uri).name, count) for uri, count in counts] == [(f"{name}.wav", 2) for name in ("0", "1", "2", "broken")]
    verified = avizor("verify", out)
    assert verified.returncode == 0, verified.stderr
    assert "10 results planned (files x models): 8 in recordings/, 2 missing for 1 dead letter" in verified.stdout


@pytest.mark.slow
def test_retry_and_verify_refuse_what_is_no_job_and_retry_has_nothing_to_do_without_dead_letters(
    few_recordings: Path, models: Path, tmp_path: Path
) -> None:
    for command in ("retry", "verify"):
        result = avizor(command, tmp_path)
        assert (result.returncode, "holds no batch job" in result.stderr) == (1, True)
    out = tmp_path / "out"
    assert batch(few_recordings, models, out).returncode == 0
    before = part_digests(out)
    nothing = avizor("retry", out)
    assert nothing.returncode == 0, nothing.stderr
    assert "0 files are done again, of 3" in nothing.stdout
    assert part_digests(out) == before


@pytest.mark.slow
def test_a_job_whose_input_is_plainly_wrong_stops_early_and_goes_on_when_told_to(models: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for number in range(400):
        write_wav(data / f"{number:03d}.wav", tone(0.1, seed=number))
        if number < 200:
            (data / f"{number:03d}.wav").write_text("no sound")
    stopped = batch(data, models, out, "--max-failed", "0.05", "--workers", "1")
    assert stopped.returncode == 1
    assert "128 of the first 128 files of this run could not be read, more than --max-failed 0.05 allows (" in stopped.stderr
    assert committed(out) < 7
    assert avizor("verify", out).returncode == 1  # it is not finished
    on = batch(data, models, out)
    assert on.returncode == 3, on.stderr
    assert avizor("verify", out).returncode == 0
    for path in sorted(data.iterdir())[:200]:
        write_wav(path, tone(0.1))
    again = avizor("retry", out, "--max-failed", "0")
    assert again.returncode == 0, again.stderr
    assert dead_is_empty(out)


def dead_is_empty(out: Path) -> bool:
    return not list((out / "dead_letters").iterdir())


@pytest.mark.slow
def test_a_small_job_with_too_many_failures_says_so_at_its_end(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    data, out = Path(shutil.copytree(few_recordings, tmp_path / "data")), tmp_path / "out"
    (data / "a" / "broken.wav").write_text("no sound")
    assert batch(data, models, out, "--max-failed", "0.25").returncode == 3
    result = batch(data, models, tmp_path / "other", "--max-failed", "0.2")
    assert result.returncode == 1
    assert "1 of all 4 files of this run could not be read, more than --max-failed 0.2 allows (broken.wav: " in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda part: part.unlink(), lambda part: part.write_bytes(b"x")])
def test_a_crash_while_dead_letters_are_taken_out_is_damage_that_is_done_again(
    few_recordings: Path, models: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    data, out = Path(shutil.copytree(few_recordings, tmp_path / "data")), tmp_path / "out"
    (data / "a" / "broken.wav").write_text("no sound")
    assert batch(data, models, out).returncode == 3
    write_wav(data / "a" / "broken.wav", tone(SECONDS, seed=5))
    (part,) = (out / "dead_letters").iterdir()
    damage(part)  # as between the part and the record
    again = batch(data, models, out)
    assert again.returncode == 0, again.stderr
    assert avizor("verify", out).returncode == 0
