"""Results and inputs that change from outside: damaged shards are computed again, missing files are reported."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.jobs import Sink, batch, command, eventually, files_below, part_digests, query, start, wait_for_first_shard


def truncate(out: Path) -> None:
    part = sorted((out / "windows").iterdir())[0]
    os.truncate(part, part.stat().st_size // 2)


def remove(out: Path) -> None:
    sorted((out / "recordings").glob("*.parquet"))[0].unlink()


def alter(out: Path) -> None:
    part = sorted((out / "windows").iterdir())[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    times = part.stat()
    part.write_bytes(content)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))


def empty_commit(out: Path) -> None:
    os.truncate(sorted((out / "commits").iterdir())[0], 0)


def swap_commits(out: Path) -> None:
    first, second = sorted((out / "commits").iterdir())[:2]
    shutil.copy(first, second)


def alter_figures(out: Path) -> None:
    # Shards are named by a hash, so the first may be the short one at the end: any count of files is altered.
    record = sorted((out / "commits").iterdir())[0]
    altered, changes = re.subn(r'"files":(\d+)', lambda found: f'"files":{int(found[1]) - 1}', record.read_text())
    assert changes == 1
    record.write_text(altered)


def part_is_a_pipe(out: Path) -> None:
    part = sorted((out / "windows").iterdir())[0]
    part.unlink()
    os.mkfifo(part)


def commit_is_a_pipe(out: Path) -> None:
    record = sorted((out / "commits").iterdir())[0]
    record.unlink()
    os.mkfifo(record)


@pytest.fixture(scope="module")
def finished(many_recordings: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    assert batch(many_recordings, models, out).returncode == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is not what was written"),
        (remove, "cannot be read (no such file or directory)"),
        (alter, "is not what was written"),
        (empty_commit, "cannot be read"),
        (swap_commits, "is not the record of its shard"),
        (alter_figures, ".json is not what was written"),
        (part_is_a_pipe, ".parquet is not a file"),
        (commit_is_a_pipe, ".json is not a file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_shard_that_was_damaged_after_its_commit_is_found_and_done_again(
    finished: Path, many_recordings: Path, models: Path, whole_run: dict[str, str], damage: Callable[[Path], None], message: str
) -> None:
    damage(finished)
    before = files_below(finished)
    dry = batch(many_recordings, models, finished, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert files_below(finished) == before
    assert "6 shards finished" in dry.stdout
    assert f"{message}" in dry.stdout
    assert "its files would be done again" in dry.stdout
    again = batch(many_recordings, models, finished)
    assert again.returncode == 0, again.stderr
    assert message in again.stderr
    assert "the files of damaged shards are done again (1 shards)" in again.stderr
    assert "400 files" in again.stdout
    assert part_digests(finished) == whole_run


def test_what_dead_runs_left_is_cleared(finished: Path, many_recordings: Path, models: Path, whole_run: dict[str, str]) -> None:
    shutil.copy(next((finished / "windows").iterdir()), finished / "windows" / "0123456789abcdef.parquet")
    (finished / "windows" / ".0123456789abcdef.tmp").write_text("half")
    (finished / "windows" / "notes.txt").write_text("mine")
    (finished / "job.json").write_bytes(b"")
    again = batch(many_recordings, models, finished)
    assert again.returncode == 0, again.stderr
    assert "job.json was damaged, and is written again" in again.stderr
    assert part_digests(finished) == whole_run
    assert not list(finished.rglob("*.tmp"))
    assert (finished / "windows" / "notes.txt").read_text() == "mine"


def remove_windows(out: Path) -> None:
    move_away(out / "windows")


def remove_records(out: Path) -> None:
    move_away(out / "commits")


def move_away(folder: Path) -> None:
    """Remove a folder in one step: the job writes files into it, and renames them."""
    folder.rename(folder.parent.with_name(f"{folder.name} of before"))


@pytest.mark.parametrize(
    ("removal", "gone"), [(remove, "recordings/"), (remove_windows, "windows/"), (remove_records, "commits/")]
)
def test_what_is_removed_while_a_job_runs_does_not_end_well_and_is_computed_again(
    many_recordings: Path, models: Path, whole_run: dict[str, str], tmp_path: Path, removal: Callable[[Path], None], gone: str
) -> None:
    out = tmp_path / "out"
    process = start(*command(many_recordings, models, out))
    wait_for_first_shard(out, process)
    removal(out)
    (out / "job.json").unlink()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1, error
    assert f"Error: {out}/{gone}" in error
    # A worker that was about to write there has said so itself.
    ended = "removed while the job ran: run the same command again, which computes what is missing"
    assert ended in error or "(no such file or directory); finished shards are kept: put back what was removed" in error
    assert "job.json was removed while the job ran, and is written again" in error
    assert not (out / "summary.json").exists()
    assert batch(many_recordings, models, out).returncode == 0
    assert part_digests(out) == whole_run


def test_a_file_in_place_of_a_table_is_named(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(few_recordings, models, out).returncode == 0
    shutil.rmtree(out / "windows")
    (out / "windows").write_text("mine")
    again = batch(few_recordings, models, out)
    assert again.returncode == 1
    assert (
        f"Error: {out}/windows cannot be written (file exists); finished shards are kept: move away what is there"
        in again.stderr
    )


def test_files_that_vanish_while_a_job_runs_are_dead_letters(
    many_recordings: Path, models: Path, sink: Sink, tmp_path: Path
) -> None:
    data, out = Path(shutil.copytree(many_recordings, tmp_path / "data")), tmp_path / "out"
    away = sorted(path for path in data.rglob("*.wav"))[-1]
    process = start(*command(data, models, out, "--pushgateway", sink.address, "--workers", "1"))
    assert eventually((out / "rounds" / "000001.parquet").exists)
    away.rename(tmp_path / "away.wav")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 3, error
    assert sink.codes == [3]
    ((uri, message),) = query(f"select uri, message from '{out}/dead_letters/*.parquet'")
    assert (Path(uri), message) == (away, f"{away.name}: cannot be opened (No such file or directory)")
