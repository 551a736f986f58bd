"""sources/stored_listing.py: how the files of a job have changed since it began."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.pipeline.jobs import entry

from avizor_inference.errors import JobError
from avizor_pipeline.sources.stored_listing import changes_since, write_listing

BEFORE = [entry(f"{number}.wav") for number in range(150)]


def test_files_that_are_the_same_have_not_changed(tmp_path: Path) -> None:
    write_listing(tmp_path, iter(BEFORE))
    assert changes_since(tmp_path, reversed(BEFORE)) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["listing.parquet"]


def test_files_that_are_new_changed_or_gone_are_counted(tmp_path: Path) -> None:
    write_listing(tmp_path, BEFORE)
    now = [entry("0.wav", size=7), entry("1.wav", modified_ns=7), entry("new.wav"), *BEFORE[3:]]
    assert changes_since(tmp_path, now) == "1 file is new, 2 files are changed, 1 file is gone"


def test_a_job_without_a_listing_cannot_tell_what_has_changed(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="holds shards of other files than there are now; choose another --out"):
        changes_since(tmp_path, BEFORE)
