"""job_context.py: what a worker opens once for all its shards."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from support.signals import SIGNAL
from support.sounds import SOUND, tone, write_wav

from avizor_inference.errors import JobError
from avizor_inference.repository.models import ModelVersion
from avizor_pipeline.job_context import open_context
from avizor_pipeline.models import contents_for
from avizor_pipeline.request import JobRequest


def test_models_of_one_front_end_share_a_batcher_and_each_calibrated_one_has_a_judge(models: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "data" / "a" / "1.wav", tone(1.0))
    settings = JobRequest((str(tmp_path / "data"),), ("kinds", "normal"), models).to_settings()
    context = open_context(settings, tmp_path / "out")
    assert [model.name for model in context.models] == ["kinds", "normal"]
    assert list(context.batchers) == ["kinds+normal"]
    assert list(context.judges) == ["normal"]
    assert [entry.source for entry in context.source.list()] == ["a"]
    assert list(context.batchers["kinds+normal"].finish()) == []  # empty, and ready for the first shard


def test_a_model_that_was_replaced_since_the_job_began_is_refused(models: Path, tmp_path: Path) -> None:
    settings = JobRequest(("data",), ("normal",), models).to_settings()
    (choice,) = settings.models
    changed = settings.model_copy(update={"models": (choice.model_copy(update={"calibration_id": "another"}),)})
    gone = r"changed since the job began: .*another\.json is gone; put it back, or choose another --out"
    with pytest.raises(JobError, match=gone):
        open_context(changed, tmp_path / "out")


def test_a_manifest_that_was_changed_within_its_version_is_noticed(models: Path, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(models, tmp_path / "models"))
    settings = JobRequest(("data",), ("kinds",), repository).to_settings()
    manifest = repository / "kinds" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"high"', '"hoch"'))
    with pytest.raises(JobError, match=r"'kinds' version 1 was changed since .*manifest\.json is not the same; put it back"):
        open_context(settings, tmp_path / "out")
    of_before = settings.model_copy(update={"models": (settings.models[0].model_copy(update={"manifest_sha256": ""}),)})
    assert open_context(of_before, tmp_path / "out").models[0].labels[-1] == "hoch"  # it has noted no digest


def test_a_job_reads_what_its_models_take() -> None:
    inputs = {"sound": SOUND, "pumps": SIGNAL}
    versions = [
        cast(ModelVersion, SimpleNamespace(name=name, manifest=SimpleNamespace(input=spec))) for name, spec in inputs.items()
    ]
    assert [contents_for([each]) for each in versions] == [("audio",), ("signal",)]
    assert contents_for(versions) == ("audio", "signal")
