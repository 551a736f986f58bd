"""sinks/part_files.py: a shard counts if its commit record exists and its parts are unchanged."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.object_stores import S3
from support.open_files import no_more_files
from unit.pipeline.jobs import write_shard

from avizor_inference.errors import JobError
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks.part_files import Commit, PartWriter, SourceCount, find_damage, read_commit
from avizor_pipeline.sinks.row_groups import ROW_GROUP

SHARD = "0123456789abcdef"


def names(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_parts_have_their_names_when_they_are_published_and_the_commit_comes_last(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, SHARD)
    for number in range(ROW_GROUP + 1):
        writer.add("windows", {"uri": f"{number}.wav"})
    assert [Path(name).suffix for name in names(tmp_path)] == [".tmp"]  # a row group is already out of memory
    digests = writer.finish()
    assert [Path(name).suffix for name in names(tmp_path)] == [".tmp"]  # what is left waits for the disk alone
    writer.publish()
    assert names(tmp_path) == list(digests) == [f"windows/{SHARD}.parquet"]  # a table without rows has no part
    part = pq.ParquetFile(tmp_path / "windows" / f"{SHARD}.parquet")
    assert [part.metadata.row_group(number).num_rows for number in range(part.num_row_groups)] == [ROW_GROUP, 1]
    commit = Commit(
        shard=SHARD, files=1, windows=1, dead_letters=0, rows=writer.counts, sha256=digests, labels={}, sources={}
    )  # fmt: skip
    writer.commit(commit)
    assert names(tmp_path) == [f"commits/{SHARD}.json", f"windows/{SHARD}.parquet"]


def test_rows_of_some_files_are_dropped_from_what_is_in_memory_and_what_is_written(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, SHARD)
    for number in range(2 * ROW_GROUP + 2):  # the last two are not written yet
        writer.add("windows", {"uri": f"{number % 2}.wav", "start_sample": number})
        writer.add("recordings", {"uri": f"{number % 2}.wav"})
    writer.drop("windows", {"1.wav", "none.wav"})
    assert writer.counts["windows"] == ROW_GROUP + 1
    digests = writer.finish()
    writer.publish()
    rows = pq.read_table(tmp_path / "windows" / f"{SHARD}.parquet")
    assert rows["start_sample"].to_pylist() == list(range(0, 2 * ROW_GROUP + 2, 2))
    assert pq.read_metadata(tmp_path / "recordings" / f"{SHARD}.parquet").num_rows == 2 * ROW_GROUP + 2
    assert names(tmp_path) == sorted(digests)


def test_a_table_all_of_whose_rows_are_dropped_has_no_part(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, SHARD)
    writer.add("windows", {"uri": "1.wav"})
    writer.drop("windows", ["1.wav"])
    digests = writer.finish()
    writer.publish()
    assert (writer.counts["windows"], digests, names(tmp_path)) == (0, {}, [])


def test_a_commit_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_shard(tmp_path, SHARD)
    read = read_commit(tmp_path, SHARD)
    assert isinstance(read, Commit)
    assert read.model_copy(update={"digest": ""}) == written
    assert find_damage(tmp_path, read) == ""


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record.write_text(record.read_text().replace('"files":1', '"files":2')), "is not what was written"),
        (lambda record: os.truncate(record, 10), "cannot be read"),
        (lambda record: record.rename(record.with_name("fedcba9876543210.json")), "is not a file"),
        (
            lambda record: record.write_text(record.read_text().replace(SHARD, "fedcba9876543210")),
            "not the record of its shard",
        ),
    ],
    ids=["altered", "cut", "moved", "of another shard"],
)
def test_a_record_that_is_not_as_it_was_written_is_not_used(tmp_path: Path, damage: object, message: str) -> None:
    write_shard(tmp_path, SHARD)
    damage(tmp_path / "commits" / f"{SHARD}.json")  # type: ignore[operator]
    problem = read_commit(tmp_path, SHARD)
    assert isinstance(problem, str)
    assert message in problem


def test_a_part_that_is_altered_or_missing_is_damage(tmp_path: Path) -> None:
    commit = write_shard(tmp_path, SHARD)
    part = tmp_path / "windows" / f"{SHARD}.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    assert find_damage(tmp_path, commit) == f"{part} is not what was written"
    part.unlink()
    assert find_damage(tmp_path, commit) == f"{part} cannot be read (no such file or directory)"
    os.mkfifo(part)
    assert find_damage(tmp_path, commit) == f"{part} is not a file"


def test_a_part_that_cannot_be_opened_for_lack_of_open_files_is_not_damage(tmp_path: Path) -> None:
    """It would be done again, and its rows with it, though it is intact."""
    commit = write_shard(tmp_path, SHARD)
    with (
        no_more_files(),
        pytest.raises(
            JobError, match=r"parquet cannot be read \(too many open files.*\); finished shards are kept: raise `ulimit -n`"
        ),
    ):
        find_damage(tmp_path, commit)
    assert find_damage(tmp_path, commit) == ""


def test_a_part_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("in the way of a folder")
    writer = PartWriter(tmp_path, SHARD)
    writer.add("windows", {"uri": "1.wav"})
    writer.add("recordings", {"uri": "1.wav"})
    with pytest.raises(JobError, match=r"cannot be written .*; finished shards are kept"):
        writer.finish()
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_in_the_way_of_a_table_without_rows_is_told(tmp_path: Path) -> None:
    (tmp_path / "dead_letters").write_text("in the way of a folder")
    writer = PartWriter(tmp_path, SHARD)
    writer.add("windows", {"uri": "1.wav"})
    with pytest.raises(JobError, match=r"cannot be written \(not a directory\); finished shards are kept"):
        writer.finish()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_part_that_goes_before_it_is_whole_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, SHARD, rows=1)
    for table in ("windows", "dead_letters"):
        writer.add(table, {"uri": "1.wav"})
    (begun,) = (tmp_path / "dead_letters").iterdir()
    begun.unlink()
    with pytest.raises(JobError, match=r"dead_letters/.*\.parquet cannot be written .*; finished shards are kept"):
        writer.finish()
    assert not list(tmp_path.rglob("*.tmp"))


def test_counts_of_a_source_add_up() -> None:
    both = SourceCount(recordings=3, anomalies=1, short=1) + SourceCount(recordings=2, not_judged=1)
    assert both == SourceCount(recordings=5, anomalies=1, not_judged=1, short=1)


def test_a_store_that_does_not_remove_what_a_worker_left_is_told_of(s3: S3) -> None:
    writer = PartWriter(ObjectPath.parse(s3.url("run")), SHARD)
    writer.finish()
    s3.fault = lambda environ: ("403 Forbidden", b"") if environ["QUERY_STRING"] == "delete" else None
    with pytest.raises(JobError, match=r"run/windows/.* cannot be written \(the store"):
        writer.publish()
