"""anomaly/calibrate.py: normal items are scored by the real engine, and kept by source and by length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.tables import transfers

from avizor_inference.anomaly.calibrate import calibrate
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.repository.calibration import EngineKind
from avizor_inference.repository.models import ModelVersion

MODEL = "transfers"


@pytest.fixture
def engine(models: Path) -> Iterator[EmbeddedEngine]:
    with EmbeddedEngine(models, device="cpu") as engine:
        yield engine


def version(engine: EmbeddedEngine) -> ModelVersion:
    return engine.repository.version(MODEL)


def test_each_recording_keeps_the_scores_of_all_its_windows_by_source_and_length(engine: EmbeddedEngine) -> None:
    rows = transfers(40)  # more than one batch of the model
    recordings = [
        NormalRecording("b", rows[:1]),
        NormalRecording("a", rows),
        NormalRecording("b", rows[1:3]),
        NormalRecording("b", rows[3:4], is_short=True),
    ]
    calibration = calibrate(engine, version(engine), recordings)
    requests = [InferRequest(MODEL, {"record": row[None]}, ["score"]) for row in rows]
    expected = np.concatenate([engine.infer(request)["score"][:, 0] for request in requests])
    assert list(calibration.sources) == ["a", "b"]
    np.testing.assert_allclose(calibration.sources["a"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(np.concatenate(calibration.sources["b"]), expected[:3], rtol=1e-5)
    np.testing.assert_allclose(calibration.short["b"][0], expected[3:4], rtol=1e-5)


def test_a_calibration_names_the_model_that_made_it(engine: EmbeddedEngine) -> None:
    spec = engine.spec(MODEL)
    calibration = calibrate(engine, version(engine), [NormalRecording("a", transfers(1))])
    assert (calibration.model, calibration.version, calibration.model_sha256) == (MODEL, spec.version, spec.sha256)
    assert calibration.kind == EngineKind("onnxruntime-cpu", "fp32")


def test_a_calibration_holds_the_scores_of_the_probe_items(engine: EmbeddedEngine) -> None:
    calibration = calibrate(engine, version(engine), [NormalRecording("a", transfers(1))])
    probe = version(engine).probe()
    assert probe is not None
    np.testing.assert_allclose(calibration.probe_scores, probe.outputs["score"][:, 0], rtol=1e-5)


def test_a_classifier_is_not_calibrated(engine: EmbeddedEngine) -> None:
    with pytest.raises(CalibrationError, match="model 'digits' is a classifier, which has no scores"):
        calibrate(engine, engine.repository.version("digits"), [NormalRecording("a", transfers(1))])


def test_no_recordings_are_refused(engine: EmbeddedEngine) -> None:
    with pytest.raises(CalibrationError, match="no items to calibrate with; pass normal ones"):
        calibrate(engine, version(engine), [])


def test_a_recording_without_a_finite_score_is_named(engine: EmbeddedEngine) -> None:
    huge = np.full((1, 3), 3e38, dtype=np.float32)
    with pytest.raises(CalibrationError, match=r"normal item 1 \(counted from 0, source 'b'\)"):
        calibrate(engine, version(engine), [NormalRecording("a", transfers(1)), NormalRecording("b", huge)])
