"""sinks/moved_files.py: dead letters are taken out of a shard, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avizor_pipeline.sinks.moved_files import take_out
from avizor_pipeline.sinks.part_files import Commit, PartWriter, dead_uris, find_damage, read_commit

SHARD = "0123456789abcdef"


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    """A shard of four files: one with rows, three dead."""
    writer = PartWriter(tmp_path, SHARD)
    writer.add("recordings", {"uri": "0.wav", "model": "normal"})
    for number in (1, 2, 3):
        writer.add("dead_letters", {"uri": f"{number}.wav"})
    commit = Commit(
        shard=SHARD, files=4, windows=0, dead_letters=3, rows=writer.counts, sha256=writer.finish(), labels={}, sources={}
    )
    writer.commit(commit)
    return commit


def test_some_dead_letters_are_taken_out_and_the_record_agrees(tmp_path: Path, commit: Commit) -> None:
    assert dead_uris(tmp_path, SHARD) == {"1.wav", "2.wav", "3.wav"}
    results = (tmp_path / "recordings" / f"{SHARD}.parquet").read_bytes()
    assert take_out(tmp_path, commit, ["1.wav", "3.wav"], 2)
    read = read_commit(tmp_path, SHARD)
    assert isinstance(read, Commit)
    assert find_damage(tmp_path, read) == ""
    assert (read.files, read.dead_letters, read.rows["dead_letters"]) == (2, 1, 1)
    assert pq.read_table(tmp_path / "dead_letters")["uri"].to_pylist() == ["2.wav"]
    assert (tmp_path / "recordings" / f"{SHARD}.parquet").read_bytes() == results


def test_the_last_dead_letter_takes_its_part_with_it(tmp_path: Path, commit: Commit) -> None:
    assert take_out(tmp_path, commit, ["1.wav", "2.wav", "3.wav"], 1)
    read = read_commit(tmp_path, SHARD)
    assert isinstance(read, Commit)
    assert (find_damage(tmp_path, read), list(read.sha256)) == ("", [f"recordings/{SHARD}.parquet"])
    assert not list((tmp_path / "dead_letters").iterdir())


@pytest.mark.parametrize(("uris", "remaining"), [(["0.wav"], 3), (["0.wav", "1.wav"], 2), (["1.wav"], 0)])
def test_files_with_other_rows_are_left_to_be_done_again(
    tmp_path: Path, commit: Commit, uris: list[str], remaining: int
) -> None:
    assert not take_out(tmp_path, commit, uris, remaining)
    assert find_damage(tmp_path, commit) == ""
