"""repository/calibration_store.py: which calibration is active, and how that changes, whoever reads or writes meanwhile."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from avizor_inference.errors import CalibrationError, VersionRefused
from avizor_inference.repository.calibration import Calibration, EngineKind
from avizor_inference.repository.calibration_store import activate, read_active, roll_back, store
from avizor_inference.repository.models import ModelRepository, ModelVersion

CPU, CUDA = EngineKind("onnxruntime-cpu", "fp32"), EngineKind("onnxruntime-cuda", "fp32")


@pytest.fixture
def version(models: Path, tmp_path: Path) -> ModelVersion:
    shutil.copytree(models / "transfers", tmp_path / "models" / "transfers")
    return ModelRepository(tmp_path / "models").version("transfers")


def other(version: ModelVersion, score: float, **changes: str) -> Calibration:
    """A calibration of the version with another score, stored and not active."""
    (first,) = version.calibrations()[:1]
    made = Calibration.model_validate(first.model_dump() | {"sources": {"a": ((score,),)}} | changes)
    store(version.folder, made)
    return made


def test_export_leaves_one_calibration_which_is_active(version: ModelVersion) -> None:
    (only,) = version.calibrations()
    assert only.kind == CPU
    assert version.calibration_ids() == [only.id]
    assert read_active(version.folder).ids() == {CPU: only.id}
    assert not (version.folder / "calibration.json").exists()


def test_each_kind_of_engine_has_its_own_active_calibration_and_history(version: ModelVersion) -> None:
    (first,) = version.calibrations()
    second, cuda = other(version, 1.0), other(version, 2.0, engine_class="onnxruntime-cuda")
    assert version.calibrations() == (first,)
    for each in (second, cuda, cuda):
        activate(version.folder, each)
    assert version.calibrations() == (second, cuda)
    assert roll_back(version.folder, CPU) == first.id
    assert version.calibrations() == (first, cuda)
    with pytest.raises(CalibrationError, match=r"no earlier calibration for onnxruntime-cuda in fp32 to go back to; activated"):
        roll_back(version.folder, CUDA)  # it was activated twice, and that is once
    activate(version.folder, second)
    assert version.calibrations() == (second, cuda)


def test_a_reader_never_sees_half_while_calibrations_change(version: ModelVersion) -> None:
    (first,) = version.calibrations()
    second = other(version, 1.0)
    done = threading.Event()

    def change() -> None:
        for _ in range(40):
            activate(version.folder, second)
            roll_back(version.folder, CPU)
        done.set()

    writers = [threading.Thread(target=change)]
    for writer in writers:
        writer.start()
    seen = set()
    while not done.is_set():
        seen.add(version.calibrations()[0].id)
    for writer in writers:
        writer.join()
    assert seen <= {first.id, second.id}
    assert version.calibrations() == (first,)


def test_writers_do_not_undo_each_other(version: ModelVersion) -> None:
    """Each activates a calibration for its own kind of engine at the same time."""
    made = [other(version, 1.0, engine_class="tensorrt", precision=precision) for precision in ("fp32", "bf16", "fp16", "int8")]
    threads = [threading.Thread(target=activate, args=(version.folder, each)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.id for each in version.calibrations()[1:]} == {each.id for each in made}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "does not name the active calibrations"),
        ('{"histories": {"cpu/fp32": ["0123456789ab"]}}', "'cpu/fp32' is not an engine class and a precision"),
        ('{"histories": {"tensorrt/fp32": []}}', "at least 1 item"),
        ('{"histories": {"tensorrt/fp32": ["../../../x"]}}', "should match pattern"),
        ('{"histories": {"tensorrt/fp32": ["0123456789ab"]}}', "has no calibration '0123456789ab'; stored: "),
    ],
)
def test_a_damaged_choice_is_refused(version: ModelVersion, text: str, message: str) -> None:
    (version.folder / "calibrations" / "active.json").write_text(text)
    with pytest.raises(VersionRefused, match=message):
        version.calibrations()


def test_a_calibration_for_another_kind_than_it_is_active_for_is_refused(version: ModelVersion) -> None:
    path = version.folder / "calibrations" / "active.json"
    path.write_text(path.read_text().replace("onnxruntime-cpu", "tensorrt"))
    with pytest.raises(VersionRefused, match="for tensorrt in fp32, and it is for onnxruntime-cpu in fp32"):
        version.calibrations()


def test_the_file_of_an_earlier_release_is_refused_until_the_model_is_calibrated_again(version: ModelVersion) -> None:
    (first,) = version.calibrations()
    (version.folder / "calibrations" / "active.json").unlink()
    assert version.calibrations() == ()
    (version.folder / "calibration.json").write_text(json.dumps({"schema_version": 2}))
    with pytest.raises(VersionRefused, match="avizor calibrate transfers --data DIR --activate"):
        version.calibrations()
    activate(version.folder, first)
    assert version.calibrations() == (first,)
