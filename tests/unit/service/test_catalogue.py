"""catalogue.py: versions are opened once, and only if the engine runs what the repository holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError, ModelNotFound, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_service.catalogue import Catalogue


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
