"""catalogue.py: versions are opened once, and only if the engine runs what the repository holds."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError, ModelNotFound, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_service.catalogue import Catalogue, OpenVersion


def test_a_version_is_opened_once_and_0_is_the_newest(models: Path) -> None:
    with EmbeddedEngine(models) as engine:
        catalogue = Catalogue(ModelRepository(models), engine)
        opened = catalogue.open("normal")
        assert (opened.version.version, opened.spec.name, opened.manifest.task) == (1, "normal", "reconstruct")
        assert catalogue.open("normal", 1) is opened
        assert opened.judging() is opened.judging()


def test_the_newest_version_is_the_newest_that_the_engine_has(models: Path, tmp_path: Path) -> None:
    ahead = tmp_path / "models"
    shutil.copytree(models / "digits", ahead / "digits")
    shutil.copytree(ahead / "digits" / "1", ahead / "digits" / "2")
    with EmbeddedEngine(models) as engine:
        catalogue = Catalogue(ModelRepository(ahead), engine)
        assert catalogue.versions("digits") == [1, 2]
        assert catalogue.find("digits").version == 2
        assert catalogue.open("digits").version.version == 1


def test_a_model_that_nobody_exported_is_not_found(models: Path) -> None:
    with EmbeddedEngine(models) as engine:
        catalogue = Catalogue(ModelRepository(models), engine)
        for name, version in (("nothing", 0), ("digits", 9)):
            with pytest.raises(ModelNotFound):
                catalogue.open(name, version)
            with pytest.raises(ModelNotFound):
                catalogue.find(name, version)


def test_a_version_is_refused_if_the_engine_serves_another_file_under_its_name(models: Path, tmp_path: Path) -> None:
    other = tmp_path / "models"
    shutil.copytree(models / "digits", other / "digits")
    manifest = other / "digits" / "1" / "manifest.json"
    digest = ModelRepository(models).version("digits").manifest.model_sha256
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    with EmbeddedEngine(models) as engine, pytest.raises(VersionRefused, match="serves another 'digits'"):
        Catalogue(ModelRepository(other), engine).open("digits")


def test_only_models_with_a_calibration_have_a_judge(models: Path) -> None:
    with EmbeddedEngine(models) as engine:
        catalogue = Catalogue(ModelRepository(models), engine)
        assert sorted(catalogue.calibrations()) == ["normal", "transfers"]
        with pytest.raises(CalibrationError, match="model 'digits' has no calibration"):
            catalogue.open("digits").judging()


def test_what_is_open_is_found_without_asking_the_engine_and_the_newest_is_asked_for_again_after_a_failure(
    models: Path,
) -> None:
    with EmbeddedEngine(models) as engine:
        catalogue = Catalogue(ModelRepository(models), engine)
        assert (catalogue.opened("digits"), catalogue.opened("digits", 1)) == (None, None)
        model = catalogue.open("digits")
        assert catalogue.opened("digits") is catalogue.opened("digits", 1) is model
        model.forget_newest()
        assert (catalogue.opened("digits"), catalogue.opened("digits", 1)) == (None, model)
        assert catalogue.open("digits") is model


class FarEngine(EmbeddedEngine):
    """Counts how often it is asked which versions it has. It says so when as many callers more are about to ask."""

    def __init__(self, models: Path, callers: int) -> None:
        super().__init__(models)
        self.asked, self.want = 0, threading.Barrier(callers + 1)

    def loaded(self, model: str) -> list[int]:
        self.asked += 1
        if self.asked == 1:
            self.want.wait(20)
        return [1]


def test_calls_that_come_while_a_model_is_opened_do_not_ask_the_engine_one_after_the_other(models: Path) -> None:
    callers = 8
    with FarEngine(models, callers) as engine, ThreadPoolExecutor(callers + 1) as threads:
        catalogue = Catalogue(ModelRepository(models), engine)

        def late() -> OpenVersion:
            engine.want.wait(20)
            return catalogue.open("digits")

        first = threads.submit(catalogue.open, "digits")
        others = [threads.submit(late) for _ in range(callers)]
        assert {each.result() for each in others} == {first.result()}
        assert engine.asked == 2  # by the first call: which versions it has, and whether the files are to be verified
