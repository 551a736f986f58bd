"""Disks that are full, read-only or limited, and invalid names: each gives a one-sentence error, and the job can be resumed."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from integration.disks import mount
from integration.jobs import Sink, batch, command, one_sentence, part_digests


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_a_job_with_a_sentence_and_it_goes_on_when_there_is_space(
    many_recordings: Path, models: Path, sink: Sink, whole_run: dict[str, str], small_disk: Path
) -> None:
    out = small_disk / "out"
    (small_disk / "other").write_bytes(bytes(100 * 1024))
    full = batch(many_recordings, models, out, "--pushgateway", sink.address)
    assert full.returncode == 1
    assert "cannot be written (no space left on device); finished shards are kept: free some space, and run" in full.stderr
    assert one_sentence(full.stderr)
    assert "Exception ignored" not in full.stderr
    assert sink.codes == [1]
    assert not list(out.rglob("*.tmp"))
    kept = part_digests(out)
    assert kept, "nothing was finished before the disk was full"
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    again = batch(many_recordings, models, out)
    assert again.returncode == 0, again.stderr
    assert kept.items() <= part_digests(out).items()
    assert part_digests(out) == whole_run


def test_a_disk_that_is_full_or_read_only_from_the_start(few_recordings: Path, models: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(256 * 1024))
    for options, message in (
        ([], "no space left on device); free some space, or"),
        (["remount,ro"], "read-only file system); make it writable, or"),
    ):
        if options:
            subprocess.run(["mount", "-o", *options, small_disk], check=True)
        dry = batch(few_recordings, models, small_disk / "out", "--dry-run")
        run = batch(few_recordings, models, small_disk / "out")
        assert (run.returncode, run.stderr) == (dry.returncode, dry.stderr)
        assert run.returncode == 1
        assert f"cannot be written ({message} choose another --out" in run.stderr
        assert one_sentence(run.stderr)


def test_a_job_whose_disk_became_full_is_told_to_free_space_before_it_goes_on(
    few_recordings: Path, models: Path, small_disk: Path
) -> None:
    assert batch(few_recordings, models, small_disk / "out").returncode in (0, 3)
    with suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass
    again = batch(few_recordings, models, small_disk / "out")
    assert again.returncode == 1
    assert "cannot be written (no space left on device); free some space, and run the same command again" in again.stderr
    assert one_sentence(again.stderr)


def test_a_log_on_a_full_disk_is_a_failure_that_is_pushed(
    few_recordings: Path, models: Path, sink: Sink, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            command(few_recordings, models, tmp_path / "out", "--pushgateway", sink.address),
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert process.returncode == 1
    assert "no space left on device" in process.stderr
    assert "Traceback" not in process.stderr
    assert sink.codes == [1]


def test_a_limit_on_the_size_of_files_is_a_sentence(many_recordings: Path, models: Path, sink: Sink, tmp_path: Path) -> None:
    out = tmp_path / "out"
    limited = subprocess.run(
        command(many_recordings, models, out, "--pushgateway", sink.address),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert limited.returncode == 1
    assert "cannot be written (file too large); finished shards are kept" in limited.stderr
    assert one_sentence(limited.stderr)
    assert sink.codes == [1]


def test_a_name_of_the_output_that_is_not_utf8_is_refused_by_both(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    for more in ((), ("--dry-run",)):
        result = batch(few_recordings, models, tmp_path / os.fsdecode(b"bad\xff"), *more)
        assert result.returncode == 1
        assert "bad%FF, is not UTF-8; choose another one" in result.stderr
        assert one_sentence(result.stderr)
