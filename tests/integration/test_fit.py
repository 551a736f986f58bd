"""`avizor fit` works as users run it: each kind of folder becomes a calibrated model, through which a folder is streamed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.normal_folders import write_images, write_rows, write_signals, write_sounds
from support.warm_starts import WarmPopen, warm_run

from avizor_export.fitting.cli import fit as fit_command
from avizor_export.fitting.kept import KEPT_FILE
from avizor_inference.anomaly.calibrate import score_rows
from avizor_inference.calibrate_cli import calibrate
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError, ExportError
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.repository.models import ModelRepository, ModelVersion

AVIZOR = Path(sys.executable).with_name("avizor")


def run(*arguments: object, cwd: Path, threads: int | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    command = [str(argument) for argument in arguments]
    return warm_run(command, timeout=900, cwd=cwd, env=environment)


def fit(*arguments: object, cwd: Path, threads: int | None = None) -> list[str]:
    """The lines that the command prints."""
    result = run(AVIZOR, "fit", *arguments, cwd=cwd, threads=threads)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def version(folder: Path, name: str) -> ModelVersion:
    return ModelRepository(folder / "models").version(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder or table of normal items of each kind."""
    made = tmp_path_factory.mktemp("fit")
    write_sounds(made / "sounds", 15, sources=("fan-1", "fan-2"))
    write_images(made / "images", 30)
    write_signals(made / "signals", 100)
    write_rows(made / "rows.csv", 150)
    return made


@pytest.fixture(scope="module", params=["sounds", "images", "signals", "rows.csv"])
def fitted(request: pytest.FixtureRequest, folder: Path) -> tuple[Path, str, list[str]]:
    """What was fitted, the model's name, and the lines of the command; of each kind once."""
    name = Path(str(request.param)).stem
    steps = 60 if name == "rows" else 20  # of each of five detectors, or of one that is larger
    lines = fit(request.param, "--name", name, "--steps", steps, "--explain", f"{name}.py", cwd=folder)
    return folder, name, lines


def test_each_choice_is_printed_with_its_reason(fitted: tuple[Path, str, list[str]]) -> None:
    _, name, lines = fitted
    assert lines[0] == "chosen:"
    text = " ".join(" ".join(lines).split())
    for choice in ("items", "network", "held out", "alpha"):
        assert re.search(rf"{choice} .*? because ", text), text
    assert f"steps {60 if name == 'rows' else 20} it was given" in text


def test_the_model_is_proven_and_calibrated(fitted: tuple[Path, str, list[str]]) -> None:
    folder, name, lines = fitted
    manifest = version(folder, name).manifest
    assert {"zeros", "random", "real"} <= set(manifest.parity.samples)
    assert manifest.evaluation == {}
    (calibration,) = version(folder, name).calibrations()
    assert calibration.folds == {"sounds": 5, "images": 5, "signals": 0, "rows": 0}[name]
    assert calibration.recordings() == {"sounds": 30, "images": 30, "signals": 30, "rows": 45}[name]
    text = "\n".join(lines)
    assert re.search(r"smallest alpha: 0\.\d+, by \d+ items in the calibration", text)
    assert re.search(r"alpha 0\.01: add (up to )?\d+ more", text)
    assert ("nine times of ten" in text) == (not calibration.folds)
    assert lines[-3].startswith("serve it, and judge items: give your new ones")


def test_the_last_two_lines_serve_and_stream(fitted: tuple[Path, str, list[str]]) -> None:
    folder, name, lines = fitted
    serve, batch = lines[-2:]
    assert serve.startswith("avizor serve --models models --alpha 0.")
    streamed = run(AVIZOR, *shlex.split(batch)[1:], cwd=folder)
    assert streamed.returncode == 0, streamed.stdout + streamed.stderr
    assert run(AVIZOR, "verify", f"{name}-results", cwd=folder).returncode == 0
    if version(folder, name).calibrations()[0].folds:
        assert "is cross-fitted in 5 folds: at alpha" in streamed.stdout
        assert "of normal items are flagged on average" in (version(folder, name).folder / "card.md").read_text()


@pytest.mark.parametrize("fitted", [pytest.param("images", marks=pytest.mark.slow), "rows.csv"], indirect=True)
def test_the_script_of_explain_makes_the_same_model_on_another_number_of_threads(fitted: tuple[Path, str, list[str]]) -> None:
    folder, name, _ = fitted
    script = folder / f"{name}.py"
    script.write_text(script.read_text().replace("Path('models')", "Path('of-script')"))
    result = run(sys.executable, script, cwd=folder, threads=1)
    assert result.returncode == 0, result.stdout + result.stderr
    made = ModelRepository(folder / "of-script").version(name)
    assert made.manifest.model_sha256 == version(folder, name).manifest.model_sha256
    own, other = (each.calibrations()[0] for each in (version(folder, name), made))
    assert (own.sources, own.folds) == (other.sources, other.folds)


def test_what_a_script_made_can_be_improved_and_a_script_that_is_there_stays(folder: Path, tmp_path: Path) -> None:
    script, models, items = tmp_path / "rows.py", tmp_path / "models", folder / "rows.csv"
    again = [items, "--name", "rows", "--models", models, "--steps", 60, "--dry-run"]
    tried(*again, "--explain", script)
    tried(*again, "--explain", script)  # nothing would be lost
    assert run(sys.executable, script, cwd=tmp_path).returncode == 0
    assert tried(*again)[-1] == "version 1 of rows was made by a script, which has its choices"
    assert any("calibrated anew" in line for line in tried(items, "--improve", "rows", "--models", models, "--steps", 60))
    script.write_text(script.read_text() + "# mine\n")
    refused = run(AVIZOR, "fit", *again, "--explain", script, cwd=tmp_path)
    assert refused.returncode == 1
    assert f"{script} exists, and may have been changed; give --explain another name" in refused.stderr
    assert script.read_text().endswith("# mine\n")


@pytest.mark.parametrize("fitted", ["sounds", "images"], indirect=True)
def test_each_item_calibrates_what_was_trained_without_it(fitted: tuple[Path, str, list[str]]) -> None:
    """The score of an item is the least of all detectors, of which some have seen it; the calibration's is never below."""
    folder, name, _ = fitted
    made = version(folder, name)
    (calibration,) = made.calibrations()
    with EmbeddedEngine(folder / "models", device="cpu") as engine:
        spec = engine.spec(name, made.version)
        served = [
            score_rows(engine, spec, recording.windows)
            for recording in read_recordings(folder / name, made.manifest.input, SourceRule())
        ]
    kept = [item for items in calibration.sources.values() for item in items]
    served_mean, kept_mean = (np.mean([np.mean(item) for item in each]) for each in (served, kept))
    assert len(served) == len(kept)
    assert kept_mean > served_mean


def test_items_that_a_model_was_trained_with_do_not_calibrate_it(fitted: tuple[Path, str, list[str]]) -> None:
    """From the folder of the fit come the same calibration, or nothing where all items were trained with."""
    folder, name, _ = fitted
    items = folder / ("rows.csv" if name == "rows" else name)
    (own,) = version(folder, name).calibrations()
    result = CliRunner().invoke(calibrate, [name, "--models", str(folder / "models"), "--data", str(items)])
    if own.folds:
        assert isinstance(result.exception, CalibrationError)
        assert f"the model was trained with all {own.recordings()} items" in str(result.exception)
        return
    assert result.exit_code == 0, result.output
    count = {"signals": 100, "rows": 150}[name]
    assert f"{count - own.recordings()} of {count} items are left out: the model was trained with them" in result.stdout
    assert "Warning" not in result.output
    (id,) = re.findall(r"^calibration (\w{12}) ", result.stdout, re.MULTILINE)
    again = version(folder, name).calibration(id)
    assert {source: sorted(each) for source, each in again.sources.items()} == {
        source: sorted(each) for source, each in own.sources.items()
    }


@pytest.mark.parametrize("fitted", ["images"], indirect=True)
def test_new_items_that_are_named_good_and_bad_are_refused(fitted: tuple[Path, str, list[str]], tmp_path: Path) -> None:
    folder, name, _ = fitted
    for number, path in enumerate(sorted(write_images(tmp_path, 40).iterdir())):
        path.rename(tmp_path / f"{('ok', 'scratch')[number % 2]}_{path.name}")
    result = CliRunner().invoke(fit_command, [str(tmp_path), "--improve", name, "--models", str(folder / "models")])
    assert "20 like 'scratch_001.png', which sounds abnormal" in str(result.exception)


def tried(*arguments: object) -> list[str]:
    """The lines that the command prints in this process: for what trains nothing, or next to nothing."""
    result = CliRunner().invoke(fit_command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_a_second_run_says_what_it_would_do_differently(folder: Path, tmp_path: Path) -> None:
    again = [folder / "rows.csv", "--name", "again", "--models", tmp_path / "models"]
    tried(*again, "--steps", 60)
    lines = tried(*again, "--steps", 120, "--leave-out", "pieces", "--dry-run")
    at = lines.index("differs from version 1 of again:")
    assert "  steps: 120; it was 60" in lines[at:]
    assert "  left out: pieces; it was not chosen then" in lines[at:]
    assert not any("no part of a model" in line for line in lines)
    assert tried(*again, "--steps", 60, "--dry-run")[-1] == "the same choices as version 1 of again"
    *_, change, advice = tried(*again, "--steps", 60, "--alpha", "0.2", "--dry-run")
    assert change == "  alpha: 0.2; it was 0.05"
    assert advice.startswith("  alpha is no part of a model, so that nothing has to be trained for another one: ")
    assert f"`avizor serve --models {tmp_path / 'models'} --alpha 0.2`" in advice
    assert "`avizor report RESULTS --alpha 0.2`" in advice


def test_a_name_under_which_something_else_is_published_is_refused_before_a_training(folder: Path, tmp_path: Path) -> None:
    models, rows = tmp_path / "models", folder / "rows.csv"
    here = ["--name", "taken", "--models", models]
    tried(rows, *here, "--steps", 60)
    with pytest.raises(
        ExportError, match=r"'taken' in .* is a detector of tables \(version 1\).*a detector of images .*--name"
    ):
        tried(folder / "images", *here)
    with pytest.raises(ExportError, match=r"a detector of tables \(version 1\).*by a classifier of tables"):
        tried(rows, *here, "--labels", "--source-column", "shop", "--dry-run")
    other = [rows, *here, "--leave-out", "pieces"]
    with pytest.raises(ExportError, match="version 1 of 'taken' takes items of 3 values, and this one would take 2"):
        tried(*other)
    tried(*other, "--dry-run")
    (models / "taken" / "1" / KEPT_FILE).unlink()
    with pytest.raises(ExportError, match=r"a detector of tables, which `avizor fit` did not make \(version 1\)"):
        tried(rows, *here)
    assert ModelRepository(models).versions("taken") == [1]


def test_a_dry_run_needs_no_name(folder: Path, tmp_path: Path) -> None:
    lines = tried(folder / "rows.csv", "--dry-run", "--models", tmp_path / "models")
    assert lines[0] == "chosen:"
    assert not (tmp_path / "models").exists()
    result = CliRunner().invoke(fit_command, [str(folder / "rows.csv"), "--dry-run", "--explain", str(tmp_path / "script.py")])
    assert result.exit_code == 2
    assert "say with --name" in result.output


def test_the_price_of_cross_fitting_is_told_before_a_training(folder: Path) -> None:
    lines = tried(folder / "images", "--dry-run")
    (at,) = (place for place, line in enumerate(lines) if line.startswith("time: about "))
    assert " with all steps, if this machine stays as busy " in lines[at]
    assert re.search(r"as it is now \(5 trainings of 600 steps, \S+ s each, and \S+ s to publish\)$", lines[at])
    assert re.search(r"^  alpha 0.05 flags at most 16.7% .*; with --folds 0, .*, alpha 0.1 is the smallest", lines[at + 1])
    assert tried(folder / "images", "--dry-run", "--folds", 0)[-1].startswith("time: about ")


def test_an_interrupted_fit_publishes_nothing(folder: Path, tmp_path: Path) -> None:
    command = [AVIZOR, "fit", folder / "sounds", "--name", "late", "--models", tmp_path / "models", "--steps", "100000"]
    with WarmPopen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("train, fold 1 of 5"):
                assert re.search(
                    r"step \d+ of at most 100000; the whole command takes about \d+ (s|min) more, with all steps", line
                )
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "stopped: nothing was published" in rest
    assert not list(tmp_path.glob("models/*/*"))
    assert not list(tmp_path.glob(".avizor-staging*"))


def test_labelled_folders_are_refused_before_a_training(tmp_path: Path) -> None:
    write_images(tmp_path / "pictures" / "good", 30)
    write_images(tmp_path / "pictures" / "broken", 30)
    result = run(AVIZOR, "fit", "pictures", "--name", "caps", cwd=tmp_path)
    assert result.returncode == 1
    assert re.search(r"^Error: pictures has the sub-folders broken, good, and 'broken' sounds abnormal", result.stderr, re.M)
    assert not (tmp_path / "models").exists()
