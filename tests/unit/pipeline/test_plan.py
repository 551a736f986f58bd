"""plan.py: what a job counts before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.pipeline.jobs import settings

from avizor_inference.errors import DatasetError, JobError, SettingsError
from avizor_pipeline.plan import plan_job
from avizor_pipeline.sharding import shards
from avizor_pipeline.sources.open_source import open_source


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a/1.wav", "a/2.flac", "b/1.wav", "b/notes.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    return tmp_path / "data"


def test_a_plan_counts_files_bytes_sources_and_shards(data: Path) -> None:
    job = settings(data)
    plan = plan_job(job)
    assert (plan.files, plan.bytes, dict(plan.sources)) == (3, 300, {"a": 2, "b": 1})
    assert dict(plan.left_out.counts) == {".txt": 1}
    assert plan.shards == {shard.id: 3 for shard in shards(job, open_source(job).list())}


def test_a_dataset_without_audio_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "clip.voc").touch()
    with pytest.raises(JobError, match=r"no audio files in .*; left out: 1 \.voc; .* files that end in .*\.flac.*\.wav"):
        plan_job(settings(tmp_path))


def test_a_dataset_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        plan_job(settings(tmp_path / "gone"))


def test_a_source_pattern_that_matches_no_file_is_refused(data: Path) -> None:
    with pytest.raises(SettingsError, match="matches none of the 3 files"):
        plan_job(settings(data, source_pattern="machine-([0-9]+)"))
    assert dict(plan_job(settings(data, source_pattern="^(a)/")).sources) == {"a": 2, "default": 1}
