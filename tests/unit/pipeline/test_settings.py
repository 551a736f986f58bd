"""settings.py and request.py: from what is asked for to what decides the rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from unit.pipeline.jobs import settings

from avizor_inference.digests import digest_of_json
from avizor_inference.errors import AvizorError, JobError
from avizor_pipeline.models import open_models
from avizor_pipeline.request import JobRequest
from avizor_pipeline.settings import JobSettings


def test_settings_are_the_same_after_their_file(tmp_path: Path) -> None:
    job = settings(tmp_path, alpha=0.05, source_pattern="(.)")
    again = JobSettings.model_validate_json(job.model_dump_json())
    assert again == job
    assert again.digest == job.digest
    assert settings(tmp_path, alpha=0.04).digest != job.digest


def test_a_confidence_decides_rows_and_is_in_the_file(tmp_path: Path) -> None:
    job = settings(tmp_path, alpha=0.05, confidence=0.95)
    again = JobSettings.model_validate_json(job.model_dump_json())
    assert (again.confidence, again.digest) == (0.95, job.digest)
    assert len({settings(tmp_path, alpha=0.05, confidence=each).digest for each in (None, 0.9, 0.95)}) == 3


def test_a_job_that_began_before_manifests_had_digests_keeps_the_names_of_its_shards(models: Path) -> None:
    job = JobRequest(("data",), ("kinds",), models).to_settings()
    assert job.models[0].manifest_sha256
    before = job.model_dump(mode="json")
    del before["models"][0]["manifest_sha256"]
    assert digest_of_json(before) == JobSettings.model_validate_json(json.dumps(before)).digest == job.digest


def test_settings_without_the_version_of_their_rows_are_refused() -> None:
    with pytest.raises(ValidationError, match="rows_format"):
        JobSettings.model_validate({"roots": [], "repository": "models", "models": []})


def test_a_folder_within_another_is_refused(tmp_path: Path) -> None:
    for roots in ((tmp_path, tmp_path / "below"), (tmp_path / "below" / ".." / "below", tmp_path), (tmp_path, tmp_path)):
        with pytest.raises(ValidationError, match="counted twice"):
            settings(*roots)


def test_a_request_pins_the_newest_version_and_its_calibration(models: Path) -> None:
    job = JobRequest(("data",), ("kinds", "normal"), models, batch_size=5).to_settings()
    kinds, normal = job.models
    assert (kinds.version, kinds.calibration_id, kinds.batch_size) == (1, None, 5)
    assert normal.calibration_id
    assert [model.outputs for model in open_models(job)] == [["probabilities"], ["score"]]
    changed = job.model_copy(update={"models": (normal.model_copy(update={"calibration_id": "another"}),)})
    with pytest.raises(JobError, match="was changed since the job began"):
        open_models(changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("kinds", "kinds")}, "a model is named twice"),
        ({"models": ("gone",)}, "no model"),
        ({"alpha": 1.0}, "alpha 1 is not between 0 and 1"),
        ({"confidence": 95}, "--confidence 95 is not between 0 and 1; it is the probability that a calibration keeps alpha"),
        ({"source_pattern": "("}, "not a regular expression"),
        ({"datasets": ("data", "data")}, "^data is within .*, so its files would be counted twice"),
        ({"repository": Path("nowhere")}, "is not a folder"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(models: Path, changes: dict[str, object], message: str) -> None:
    asked: dict[str, object] = {"datasets": ("data",), "models": ("kinds",), "repository": models}
    with pytest.raises(AvizorError, match=message):
        JobRequest(**(asked | changes)).to_settings()  # type: ignore[arg-type]
