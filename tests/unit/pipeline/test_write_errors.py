"""sinks/write_errors.py: an error of the disk says which file, why, and what to do."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from avizor_inference.errors import JobError
from avizor_pipeline.sinks.write_errors import writing


def test_a_full_disk_is_told_with_its_remedy() -> None:
    with pytest.raises(JobError) as caught, writing(Path("out/part.parquet")):
        Path("/dev/full").write_text("row")
    assert str(caught.value) == (
        "out/part.parquet cannot be written (no space left on device); finished shards are kept: free some space, and run the "
        "same command again to go on"
    )
    assert isinstance(caught.value.__cause__, OSError)


def test_a_file_beyond_the_limit_of_its_size_is_told_with_its_remedy(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(JobError) as caught, writing(tmp_path / "part"):
            (tmp_path / "part").write_text("row")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "(file too large); finished shards are kept: raise the limit of a file's size" in str(caught.value)


def test_a_cause_without_a_remedy_of_its_own_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    part = tmp_path / "file" / "part"
    with pytest.raises(JobError, match=r"\(not a directory\); finished shards are kept: correct that, and run"), writing(part):
        part.write_text("row")


def test_errors_that_are_not_of_the_disk_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "part"):
        raise ZeroDivisionError
