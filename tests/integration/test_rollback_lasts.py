"""A rollback lasts: every command that is told no version uses the one that is served, and only an export ends it, aloud."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from integration.jobs import batch, query
from support.sounds import tone, write_wav

from avizor_export.architectures.lenet import LeNet
from avizor_export.description.cli import describe
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.tuning.cli import tune
from avizor_inference.calibrate_cli import calibrate
from avizor_inference.checks.check_version import check_model, model_notes
from avizor_inference.cli import models as models_command
from avizor_inference.explain.cli import explain
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.version_choice import choose_version, chosen_version


def output(command: object, *words: object) -> str:
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def own(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of an autoencoder and of a classifier, both rolled back to the first one."""
    own = tmp_path_factory.mktemp("own")
    shutil.copytree(models / "kinds", own / "kinds")
    for name in ("normal", "digits"):
        shutil.copytree(models / name, own / name)
        second = Path(shutil.copytree(own / name / "1", own / name / "2"))
        manifest = json.loads((second / "manifest.json").read_text())
        (second / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
        shutil.rmtree(second / "calibrations", ignore_errors=True)
        assert ModelRepository(own).served(name).version == 2
        choose_version(own / name, 1)
    return own


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(20):
        write_wav(folder / "a" / f"{number}.wav", tone(1.1, seed=2000 + number))
    return folder


def test_calibrate_batch_explain_describe_and_the_list_follow_a_rollback(own: Path, sounds: Path, tmp_path: Path) -> None:
    assert str(own / "normal" / "1" / "calibrations") in output(calibrate, "normal", "--data", sounds, "--models", own)
    job = batch(sounds, own, tmp_path / "out", "--workers", "1")
    assert job.returncode == 0, job.stderr
    assert query(f"select distinct model_version from '{tmp_path}/out/windows/*.parquet' where model = 'normal'") == [(1,)]
    filters = json.loads(output(explain, "filters", "digits", "--models", own, "--out", tmp_path, "--json"))
    assert filters["version"] == 1
    assert "digits: version 1 of" in output(describe, "digits", "--models", own)
    assert output(models_command, "--models", own).count("1,2 (serves 1)") == 2
    assert "version 1 is chosen" in model_notes(ModelRepository(own), "digits")[0]


def test_tune_keeps_a_rollback(own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    before = (own / "digits" / "config.pbtxt").read_text()
    output(tune, "digits", "--models", own, "--seconds", "0.1", "--batch", "3", "--threads", "1", "--instances", "1")
    assert (own / "digits" / "config.pbtxt").read_text() != before
    assert chosen_version(own / "digits") == 1
    assert [problem for problem in check_model(ModelRepository(own), "digits") if "digits/1" in problem] == []


def test_an_export_ends_a_rollback_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    request = ExportRequest("net", "classify", ImageInput(height=32, width=32, channels=1), labels=tuple("0123456789"))
    for _ in range(2):
        export_model(LeNet(), request, tmp_path)
    assert "ends the choice" not in caplog.text
    choose_version(tmp_path / "net", 1)
    torch.manual_seed(3)
    third = export_model(LeNet(), request, tmp_path)
    assert "version 3 is served from now on: this ends the choice of version 1" in caplog.text
    assert ModelRepository(tmp_path).served("net") == third
