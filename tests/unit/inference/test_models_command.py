"""cli.py: `avizor models`: one aligned row a model, whatever is wrong with another."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from avizor_inference.cli import age
from avizor_inference.cli import models as command
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.calibration_store import activate, store
from avizor_inference.repository.models import ModelRepository

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=59), "new"),
        (timedelta(minutes=1), "1 minute old"),
        (timedelta(minutes=119), "1 hour old"),
        (timedelta(hours=47), "1 day old"),
        (timedelta(days=400), "400 days old"),
        (timedelta(hours=-3), "from the future"),
    ],
)
def test_age_is_told_in_the_largest_unit_that_fits(ago: timedelta, text: str) -> None:
    assert age(NOW - ago, NOW) == text
    assert age((NOW - ago).replace(tzinfo=None), NOW) == text


def test_a_repository_in_an_object_store_is_refused_with_what_to_do() -> None:
    told = CliRunner().invoke(command, ["--models", "s3://bucket/models"], catch_exceptions=True).exception
    remedy = "name one, and bring the models there: `avizor models pull --from URL`"
    assert str(told) == f"s3://bucket/models: a model repository is a folder on a disk; {remedy}"


def test_a_broken_model_keeps_its_row_and_the_others_stay_aligned(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models, tmp_path / "models"))
    version = ModelRepository(folder).version("normal")
    (calibration,) = version.calibrations()
    older = calibration.model_copy(update={"created": datetime.now(UTC) - timedelta(days=3, hours=1)})
    older = Calibration.model_validate(older.model_dump())  # with its own id
    store(version.folder, older)
    activate(version.folder, older)
    (folder / "digits" / "1" / "manifest.json").write_text("{}")
    result = CliRunner().invoke(command, ["--models", str(folder)])
    lines = result.output.splitlines()
    assert result.exit_code == 1
    header, rows = lines[0], {line.split()[0]: line for line in lines[1:5]}
    starts = {name: header.index(name) for name in header.split()}
    assert list(starts) == ["name", "task", "input", "versions", "precision", "size", "sha256", "parity", "calibration"]
    assert rows["digits"][starts["task"] :].split() == ["UNUSABLE", *"-" * 7]
    assert rows["normal"][starts["calibration"] :] == "60 normal items, 3 days old, onnxruntime-cpu/fp32"
    assert rows["normal"][starts["task"] :].startswith("reconstruct  waveform float32[N,4096]")
    assert rows["kinds"][starts["calibration"] :] == "none"
    assert lines[5].startswith("digits: ")
    assert "manifest.json is not a manifest" in lines[5]
    assert len(lines) == 6


def without_config(model: Path) -> None:
    (model / "config.pbtxt").unlink()


def without_graph(model: Path) -> None:
    (model / "1" / "model.onnx").unlink()


def cut_short(model: Path) -> None:
    path = model / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_config, "config.pbtxt: cannot be read"),
        (without_graph, "model.onnx is missing; export the model again"),
        (cut_short, r"model.onnx has [0-9]+ bytes, in its manifest [0-9]+; .* export the model again"),
    ],
)
def test_what_no_engine_would_load_is_not_listed_as_sound(
    models: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(models / "digits", tmp_path / "digits")
    assert CliRunner().invoke(command, ["--models", str(tmp_path)]).exit_code == 0
    damage(tmp_path / "digits")
    result = CliRunner().invoke(command, ["--models", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.splitlines()[1].split()[:2] == ["digits", "UNUSABLE"]
    assert re.search(message, result.output)


@pytest.mark.parametrize("arguments", [[], ["check"]])
def test_a_repository_without_models_says_so(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / ".avizor-lock-m").touch()
    result = CliRunner().invoke(command, [*arguments, "--models", str(tmp_path)])
    assert result.exit_code == 0
    assert result.output == f"no models in {tmp_path}\n"
