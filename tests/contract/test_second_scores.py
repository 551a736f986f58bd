"""A detector's scores are the same on every engine: the one that decides and both parts of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.sounds import SAMPLE_RATE, SOUND, tone
from support.tables import TRANSFER, transfers
from support.tritons import serving_triton

from avizor_export import ExportRequest, build_front_end, export_model
from avizor_export.detection.fit import train_detector
from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import AudioInput, TableInput
from avizor_inference.repository.models import ModelRepository

SCORES = ["score", "reconstruction_score", "neighbour_score"]
INPUTS = {"rows": "record", "sounds": "waveform"}
torch.manual_seed(0)


def sounds(count: int, first_seed: int) -> np.ndarray:
    return np.stack([tone(4096 / SAMPLE_RATE, seed=first_seed + number) for number in range(count)]).reshape(count, 4096)


def export(name: str, spec: TableInput | AudioInput, items: np.ndarray, folder: Path) -> None:
    features = build_front_end(spec)(torch.from_numpy(items)).detach()
    detector, _ = train_detector(features[:60], features[60:80], is_sound=name == "sounds", most_steps=120)
    normal = [NormalRecording("a", item[None]) for item in items[80:]]
    request = ExportRequest(name, "reconstruct", spec, real_items=items[80:88], normal=normal, serving={"max_batch_size": 16})
    export_model(detector, request, folder)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a detector of table rows and one of sounds, each calibrated with 40 items of the source `a`."""
    folder = tmp_path_factory.mktemp("detectors")
    export("rows", TRANSFER, transfers(120), folder)
    export("sounds", SOUND, sounds(120, 0).astype(np.float32), folder)
    return folder


@pytest.fixture(scope="module", params=["ort", "openvino", "triton"])
def engine(request: pytest.FixtureRequest, detectors: Path) -> Iterator[Engine]:
    if request.param != "triton":
        with open_engine(request.param, ModelRepository(detectors)) as opened:
            yield opened
        return
    with (
        serving_triton(request, detectors) as address,
        open_engine(f"triton://{address}", ModelRepository(detectors)) as opened,
    ):
        yield opened


@pytest.mark.parametrize("name", INPUTS)
def test_every_score_can_be_asked_for_and_is_that_of_export(engine: Engine, detectors: Path, name: str) -> None:
    version = ModelRepository(detectors).version(name)
    probe = version.probe()
    assert probe is not None
    for output in SCORES:
        answers = engine.infer(InferRequest(name, {INPUTS[name]: probe.items}, [output]))
        assert list(answers) == [output]
        np.testing.assert_allclose(answers[output], probe.outputs[output], rtol=1e-4, atol=1e-5, err_msg=output)


@pytest.mark.parametrize("name", INPUTS)
def test_the_calibration_of_export_judges_by_the_score_that_decides(engine: Engine, detectors: Path, name: str) -> None:
    version = ModelRepository(detectors).version(name)
    found = find_calibration(engine, version, "--engine ort")
    assert found is not None
    items = transfers(4) if name == "rows" else sounds(4, 500).astype(np.float32)
    odd = (
        np.full_like(items, 900)
        if name == "rows"
        else np.random.default_rng(0).uniform(-0.9, 0.9, items.shape).astype(np.float32)
    )
    judge = Judge(found[0])

    def p_values(batch: np.ndarray) -> list[float]:
        scores = engine.infer(InferRequest(name, {INPUTS[name]: batch}, ["score"]))["score"]
        return [judge.item_p_value("a", ItemScore.of(score).value).value for score in scores]

    assert max(p_values(odd)) <= 1 / 41 + 1e-9
    assert min(p_values(items)) > 1 / 41


@pytest.mark.parametrize("name", INPUTS)
def test_the_manifest_names_the_scores_and_says_which_decides(detectors: Path, name: str) -> None:
    manifest = ModelRepository(detectors).version(name).manifest
    meanings = {output.name: output.meaning for output in manifest.outputs if output.name in SCORES}
    assert list(meanings) == SCORES
    assert "decides" in meanings["score"]
    assert all("decides" not in meanings[part] for part in SCORES[1:])
