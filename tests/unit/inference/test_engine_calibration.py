"""anomaly/engine_calibration.py: which calibration the scores of an engine are compared with, and what a refusal says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from avizor_inference.anomaly.engine_calibration import Comparable, check_calibration, find_calibration
from avizor_inference.anomaly.p_values import TIE
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.calibration_store import activate, store
from avizor_inference.repository.models import ModelRepository, ModelVersion

NAME = "--engine triton://gpu:8001"


class Other(Engine):
    """An engine on other hardware: what it computes is that of the embedded one, times a factor."""

    def __init__(self, inner: Engine, factor: float = 1.0, **says: str) -> None:
        self.inner, self.factor, self.says = inner, factor, says

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        return replace(self.inner.spec(model, version), **self.says)  # type: ignore[arg-type]

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        answer: Future[dict[str, Array]] = Future()
        answer.set_result({name: values * self.factor for name, values in self.inner.infer(request).items()})
        return answer

    def ready(self, timeout_s: float = 1.0) -> bool:
        return True

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def version(models: Path, tmp_path: Path) -> ModelVersion:
    shutil.copytree(models / "transfers", tmp_path / "models" / "transfers")
    return ModelRepository(tmp_path / "models").version("transfers")


@pytest.fixture
def cpu(version: ModelVersion) -> Iterator[EmbeddedEngine]:
    with EmbeddedEngine(version.folder.parent.parent, device="cpu") as engine:
        yield engine


def activated(version: ModelVersion, **changes: object) -> Calibration:
    """Activate a calibration like that of export, with changes."""
    made = Calibration.model_validate(version.calibrations()[0].model_dump() | changes)
    store(version.folder, made)
    activate(version.folder, made)
    return made


def test_another_class_uses_a_calibration_whose_probe_items_agree(version: ModelVersion, cpu: Engine) -> None:
    (exported,) = version.calibrations()
    assert find_calibration(Other(cpu, engine_class="onnxruntime-cuda"), version, NAME) == (exported, TIE)
    found = find_calibration(Other(cpu, 1 + 1e-4, engine_class="onnxruntime-cuda"), version, NAME)
    assert found is not None
    assert found.calibration == exported
    assert found.tie > 1e-3, "what differs by more than rounding widens what counts as a tie"


@pytest.mark.parametrize("says", [{}, {"engine_class": "tensorrt"}])
def test_scores_that_differ_a_lot_are_refused_whatever_the_class(
    version: ModelVersion, cpu: Engine, says: dict[str, str]
) -> None:
    (exported,) = version.calibrations()
    with pytest.raises(CalibrationError) as refusal:
        find_calibration(Other(cpu, 1.2, **says), version, NAME)
    assert str(refusal.value).startswith(
        f"model 'transfers' version 1 runs on {says.get('engine_class', 'onnxruntime-cpu')} in fp32 without a calibration for "
        f"it: calibration {exported.id} is for onnxruntime-cpu in fp32, and roots of the scores of the probe items differ from "
        "those by up to 0.095 of their value, where "
    )
    models = version.folder.parent.parent
    assert str(refusal.value).endswith(f"avizor calibrate transfers --data DIR --models {models} --version 1 {NAME} --activate")


def test_an_engine_in_another_precision_is_never_compared(version: ModelVersion, cpu: Engine) -> None:
    with pytest.raises(CalibrationError, match=r"runs on tensorrt in fp16 .* is for onnxruntime-cpu in fp32\. Calibrate it"):
        find_calibration(Other(cpu, engine_class="tensorrt", precision="fp16"), version, NAME)
    fp16 = activated(version, engine_class="openvino", precision="fp16")
    found = find_calibration(Other(cpu, engine_class="tensorrt", precision="fp16"), version, NAME)
    assert found == (fp16, TIE)


def test_a_calibration_of_its_own_class_is_the_only_one_considered(version: ModelVersion, cpu: Engine) -> None:
    scores = tuple(score * 2 for score in version.calibrations()[0].probe_scores)
    own = activated(version, engine_class="onnxruntime-cuda", probe_scores=scores)
    twice = Other(cpu, 2.0, engine_class="onnxruntime-cuda")
    assert find_calibration(twice, version, NAME) == (own, TIE), "it is compared with the engine that made the calibration"
    with pytest.raises(CalibrationError, match=f"calibration {own.id} is for onnxruntime-cuda in fp32, and roots"):
        find_calibration(Other(cpu, engine_class="onnxruntime-cuda"), version, NAME)


def test_without_probe_items_only_the_same_class_uses_a_calibration(version: ModelVersion, cpu: Engine) -> None:
    own = activated(version, probe_scores=())
    assert find_calibration(Other(cpu, 2.0), version, NAME) == (own, TIE)
    with pytest.raises(CalibrationError, match="and there are no probe items to compare the engines with"):
        find_calibration(Other(cpu, engine_class="tensorrt"), version, NAME)


def test_a_calibration_that_was_chosen_earlier_is_checked_again(version: ModelVersion, cpu: Engine) -> None:
    chosen = find_calibration(cpu, version, NAME)
    assert chosen is not None
    activated(version)
    check_calibration(cpu, version, chosen, NAME)
    with pytest.raises(CalibrationError, match=r"agreed with calibration .* when it was chosen, and no longer do"):
        check_calibration(Other(cpu, 1 + 1e-4), version, chosen, NAME)
    check_calibration(Other(cpu, 1 + 1e-4), version, Comparable(chosen.calibration, 0.1), NAME)
    with pytest.raises(CalibrationError, match="differ from those by up to"):
        check_calibration(Other(cpu, 2.0), version, Comparable(chosen.calibration, 0.1), NAME)
