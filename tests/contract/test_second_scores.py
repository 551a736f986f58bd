"""A detector's scores are the same on every engine, the one that decides and each part of it, and the promise holds for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import betabinom
from support.calibrations import calibration
from support.pictures import discs
from support.sounds import SAMPLE_RATE, SOUND, tone
from support.tables import TRANSFER, transfers
from support.tritons import serving_triton

from avizor_export import ExportRequest, build_front_end, describe_export, export_model
from avizor_export.detection.fit import train_detector
from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import ImageInput, InputSpec
from avizor_inference.repository.models import ModelRepository

TWO = ["score", "reconstruction_score", "neighbour_score"]
SCORES = {"rows": TWO, "sounds": TWO, "pictures": [*TWO, "local_score"]}
INPUTS = {"rows": "record", "sounds": "waveform", "pictures": "image"}
torch.manual_seed(0)


def sounds(count: int, first_seed: int) -> np.ndarray:
    return np.stack([tone(4096 / SAMPLE_RATE, seed=first_seed + number) for number in range(count)]).reshape(count, 4096)


def normal_items(name: str, count: int, seed: int) -> np.ndarray:
    """Normal items that the detector was neither trained nor calibrated with."""
    if name == "pictures":
        return discs(count, seed)
    return transfers(count, seed) if name == "rows" else sounds(count, 1000 * seed).astype(np.float32)


def odd_items(name: str) -> np.ndarray:
    if name == "pictures":
        return discs(4, 1, spot=0.15)
    if name == "rows":
        return np.full_like(transfers(4), 900)
    return np.random.default_rng(0).uniform(-0.9, 0.9, (4, 4096)).astype(np.float32)


def export(name: str, spec: InputSpec, items: np.ndarray, folder: Path) -> None:
    features = build_front_end(spec)(torch.from_numpy(items)).detach()
    detector, _ = train_detector(features[:60], features[60:80], is_sound=name == "sounds", most_steps=40)
    normal = [NormalRecording("a", item[None]) for item in items[80:]]
    request = ExportRequest(name, "reconstruct", spec, real_items=items[80:88], normal=normal, serving={"max_batch_size": 16})
    export_model(detector, request, folder)


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with detectors of table rows, sounds and pictures, each calibrated with 40 items of the source `a`."""
    folder = tmp_path_factory.mktemp("detectors")
    export("rows", TRANSFER, transfers(120), folder)
    export("sounds", SOUND, sounds(120, 0).astype(np.float32), folder)
    export("pictures", ImageInput(height=64, width=64, channels=3), discs(120), folder)
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
    for output in SCORES[name]:
        answers = engine.infer(InferRequest(name, {INPUTS[name]: probe.items}, [output]))
        assert list(answers) == [output]
        np.testing.assert_allclose(answers[output], probe.outputs[output], rtol=1e-4, atol=1e-5, err_msg=output)


@pytest.mark.parametrize("name", INPUTS)
def test_the_calibration_of_export_judges_by_the_score_that_decides(engine: Engine, detectors: Path, name: str) -> None:
    version = ModelRepository(detectors).version(name)
    found = find_calibration(engine, version, "--engine ort")
    assert found is not None
    items = {"rows": transfers(4), "sounds": sounds(4, 500).astype(np.float32), "pictures": discs(4, 1)}[name]
    odd = odd_items(name)
    judge = Judge(found[0])

    def p_values(batch: np.ndarray) -> list[float]:
        scores = engine.infer(InferRequest(name, {INPUTS[name]: batch}, ["score"]))["score"]
        return [judge.item_p_value("a", ItemScore.of(score).value).value for score in scores]

    assert max(p_values(odd)) <= 1 / 41 + 1e-9
    assert min(p_values(items)) > 1 / 41


@pytest.mark.parametrize("name", INPUTS)
def test_the_calibration_of_export_flags_no_more_normal_items_than_chance_allows(
    engine: Engine, detectors: Path, name: str
) -> None:
    """Given the calibration of 40 items, the number flagged of 200 others is beta-binomial."""
    found = find_calibration(engine, ModelRepository(detectors).version(name), "--engine ort")
    assert found is not None
    judge, alpha = Judge(found[0]), 0.05
    scores = infer_rows(engine, InferRequest(name, {INPUTS[name]: normal_items(name, 200, 7)}, ["score"]))["score"]
    flagged = sum(judge.item_p_value("a", ItemScore.of(score).value).value <= alpha for score in scores)
    flagging = int(alpha * 41)
    assert flagged <= betabinom(200, flagging, 41 - flagging).ppf(0.999)


@pytest.mark.parametrize("alpha", [0.1, 0.05])
@pytest.mark.parametrize("name", INPUTS)
def test_of_normal_items_a_share_of_alpha_is_flagged_on_average_over_calibrations(
    engine: Engine, name: str, alpha: float
) -> None:
    """Over 200 calibrations with 60 items, of 260 that the engine scored once; the bound is three standard errors."""
    scores = infer_rows(engine, InferRequest(name, {INPUTS[name]: normal_items(name, 260, 8)}, ["score"]))["score"]
    items, rng, rates = [[float(score[0])] for score in scores], np.random.default_rng(0), []
    for _ in range(200):
        order = [items[place] for place in rng.permutation(len(items))[:80]]
        judge = Judge(calibration({"a": order[:60]}))
        p_values = [judge.item_p_value("a", ItemScore.of(np.array(each)).value).value for each in order[60:]]
        rates.append(np.mean([value <= alpha for value in p_values]))
    error = np.std(rates) / np.sqrt(len(rates))
    assert alpha / 2 <= np.mean(rates) <= alpha + 3 * error


@pytest.mark.parametrize("name", INPUTS)
def test_what_export_prints_and_the_card_say_which_score_decides(
    detectors: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    version = ModelRepository(detectors).version(name)
    describe_export(version)
    *parts, last = SCORES[name][1:]
    assert f"  score decides: {', '.join(parts)} and {last} together" in capsys.readouterr().out.splitlines()[1]
    assert "* output: `score` float32[batch, 1]: decides:" in (version.folder / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", INPUTS)
def test_the_manifest_names_the_scores_and_says_which_decides(detectors: Path, name: str) -> None:
    manifest = ModelRepository(detectors).version(name).manifest
    meanings = {output.name: output.meaning for output in manifest.outputs if output.name in SCORES[name]}
    assert list(meanings) == SCORES[name]
    assert "decides" in meanings["score"]
    assert all("decides" not in meanings[part] for part in SCORES[name][1:])
