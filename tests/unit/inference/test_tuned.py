"""engines/tuned.py: each model on its engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from avizor_inference.checks.check_version import check_model
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.errors import EngineUnavailable, RepositoryError
from avizor_inference.repository.models import ModelRepository

REQUEST = InferRequest("digits", {"image": np.zeros((2, 32, 32, 1), np.uint8)}, ["probabilities"])


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    for name in ("digits", "normal"):
        shutil.copytree(models / name, tmp_path / name)
    set_engine(tmp_path, "digits", "openvino")
    return tmp_path


def set_engine(folder: Path, name: str, engine: str) -> None:
    with (folder / name / "config.pbtxt").open("a") as config:
        config.write(f'parameters [ {{ key: "avizor_engine", value: {{ string_value: "{engine}" }} }} ]\n')


@pytest.mark.parametrize("batching", [False, True])
def test_each_model_runs_on_the_engine_that_its_config_names(own: Path, batching: bool) -> None:
    with (
        open_engine("tuned", ModelRepository(own), batching=batching) as engine,
        open_engine("ort", ModelRepository(own)) as ort,
    ):
        assert engine.spec("digits").engine_class == "openvino"
        assert engine.spec("normal").engine_class == ort.spec("normal").engine_class
        answers = engine.infer(REQUEST)
        np.testing.assert_allclose(answers["probabilities"], ort.infer(REQUEST)["probabilities"], atol=1e-5)
        np.testing.assert_allclose(engine.submit(REQUEST).result()["probabilities"], answers["probabilities"], atol=1e-6)
        assert engine.ready()
    assert not engine.ready()
    with pytest.raises(EngineUnavailable):
        engine.spec("digits", 1)


def test_what_a_job_has_pinned_comes_before_the_config(own: Path) -> None:
    with open_engine("tuned", ModelRepository(own), engines={"digits": "ort"}) as engine:
        assert engine.spec("digits").engine_class.startswith("onnxruntime")


def test_an_engine_that_is_not_known_is_named(own: Path) -> None:
    set_engine(own, "normal", "tensorflow")
    message = "parameter avizor_engine is 'tensorflow'; give one of ort, openvino, openvino:bf16"
    with open_engine("tuned", ModelRepository(own)) as engine, pytest.raises(RepositoryError, match=message):
        engine.spec("normal")
    assert any(message in str(problem) for problem in check_model(ModelRepository(own), "normal"))
