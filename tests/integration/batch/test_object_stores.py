"""The command over a server of S3: a job that is killed goes on, changed objects are done again, and a store that is away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from integration.jobs import AVIZOR, batch, command, committed, one_sentence, part_digests, query, start, wait_for_first_shard
from support.object_stores import S3
from support.warm_starts import warm_run

COLUMNS = "* exclude (uri), split_part(uri, '/a/', 2) as name"


def differences(one: Path, other: Path) -> list[tuple[int]]:
    """The number of rows that only one of two folders has."""
    tables = [f"select {COLUMNS} from '{out}/*s/*.parquet'" for out in (one, other)]
    return [
        query(f"select count(*) from ({a.replace('*s/', name)} except all {b.replace('*s/', name)})")[0]
        for a, b in (tables, tables[::-1])
        for name in ("windows/", "recordings/")
    ]


@pytest.mark.slow
def test_changed_objects_are_named_and_done_again_on_request(
    few_recordings: Path, s3: S3, models: Path, tmp_path: Path
) -> None:
    url, out = s3.put_folder(few_recordings, "sounds"), tmp_path / "out"
    assert batch(Path(url), models, out).returncode == 0
    s3.put("sounds/a/1.wav", (few_recordings / "a" / "2.wav").read_bytes())
    s3.put("sounds/a/3.wav", (few_recordings / "a" / "0.wav").read_bytes())
    left = batch(Path(url), models, out)
    assert left.returncode == 0, left.stderr
    assert "1 file is new since the last run" in left.stdout
    assert f"{url}/a/1.wav" in left.stdout
    redone = batch(Path(url), models, out, "--changed", "redo")
    assert redone.returncode == 0, redone.stderr
    scores = dict(query(f"select uri, score from '{out}/recordings/*.parquet' where model = 'normal'"))
    assert scores[f"{url}/a/1.wav"] == scores[f"{url}/a/2.wav"]
    assert scores[f"{url}/a/3.wav"] == scores[f"{url}/a/0.wav"]
    assert len(scores) == 4
    secrets = [path for path in out.rglob("*") if path.is_file() and b"secret-key" in path.read_bytes()]
    assert secrets == []
    verified = warm_run([str(AVIZOR), "verify", str(out)])
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_job_without_obstore_says_what_to_install(models: Path, tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ModuleNotFoundError('No module named obstore', name='obstore')\n")
    arguments = command(Path("s3://recordings/sounds"), models, tmp_path / "out")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    result = subprocess.run(arguments, capture_output=True, text=True, env=env, check=False)
    assert (result.returncode, one_sentence(result.stderr)) == (1, True)
    assert "pip install 'avizor[object-stores]'" in result.stderr


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_comes_out_as_one_from_the_disk(
    many_recordings: Path, s3: S3, models: Path, tmp_path: Path
) -> None:
    url, out, here = s3.put_folder(many_recordings, "sounds"), tmp_path / "out", tmp_path / "here"
    for shards in (1, 3):
        process = start(*command(Path(url), models, out))
        if shards == 1:
            wait_for_first_shard(out, process)
        else:
            while committed(out) < shards and process.poll() is None:
                pass
        process.kill()
        process.communicate()
    assert 3 <= committed(out) < 7
    assert batch(Path(url), models, out).returncode == 0
    assert batch(many_recordings, models, here).returncode == 0
    assert differences(out, here) == [(0,)] * 4
    again = tmp_path / "again"
    assert batch(Path(url), models, again).returncode == 0
    assert part_digests(again) == part_digests(out)


@pytest.mark.slow
def test_a_job_goes_on_after_its_store_was_away_for_too_long(
    many_recordings: Path, s3: S3, models: Path, tmp_path: Path
) -> None:
    url, out = s3.put_folder(many_recordings, "sounds"), tmp_path / "out"
    process = start(*command(Path(url), models, out))
    wait_for_first_shard(out, process)
    s3.fault = lambda environ: ("503 Slow Down", b"")
    _, told = process.communicate(timeout=240)
    assert process.returncode == 1
    assert one_sentence(told)
    assert "the store answers 503" in told
    assert "finished shards are kept: run the same command again to go on" in told
    s3.fault = None
    result = batch(Path(url), models, out)
    assert result.returncode == 0, result.stderr
    assert query(f"select count(distinct uri) from '{out}/recordings/*.parquet'") == [(400,)]
    assert not list(out.glob("dead_letters/*"))
