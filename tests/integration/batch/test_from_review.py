"""`avizor calibrate --from-review` makes of an answered job what `--data` makes of its recordings, without reading them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from integration.jobs import batch, files_below, query
from support.reviewed_jobs import say
from support.sounds import tone, write_wav

from avizor_inference.calibrate_cli import calibrate
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository
from avizor_inference.review_answers import AnswerFile


def run(models: Path, *words: object) -> Result:
    return CliRunner().invoke(calibrate, ["normal", "--models", str(models), *map(str, words)])


def made(models: Path, result: Result) -> Calibration:
    assert result.exit_code == 0, result.output + str(result.exception)
    (identifier,) = re.findall(r"^calibration (\w{12}) ", result.output, re.MULTILINE)
    return ModelRepository(models).version("normal").calibration(identifier)


@pytest.fixture(scope="module")
def job(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models`, `data` (25 normal recordings of `a`, 25 of `b`, one of them short, two odd ones), `results`."""
    folder = tmp_path_factory.mktemp("reviewed")
    shutil.copytree(models, folder / "models")
    for source in ("a", "b"):
        for number in range(25):
            write_wav(folder / "data" / source / f"{number:02}.wav", tone(1.1, seed=500 + number))
    write_wav(folder / "data" / "b" / "24.wav", tone(0.3))
    rng = np.random.default_rng(0)
    for number in range(2):
        write_wav(folder / "data" / "a" / f"odd{number}.wav", np.clip(0.3 * rng.standard_normal(9000), -1, 1))
    done = batch(folder / "data", folder / "models", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder


def flagged(job: Path) -> list[str]:
    return [
        uri for (uri,) in query(f"select uri from '{job}/results/recordings/*.parquet' where is_anomaly and model = 'normal'")
    ]


@pytest.fixture
def answered(job: Path) -> Path:
    file = AnswerFile(job / "answers.jsonl")
    file.path.unlink(missing_ok=True)
    for uri in flagged(job):
        say(file, uri, "abnormal" if "odd" in uri else "normal")
    return job


def from_review(job: Path) -> list[object]:
    return ["--from-review", job / "results", "--answers", job / "answers.jsonl"]


def test_an_answered_job_calibrates_as_its_normal_recordings_do(answered: Path, tmp_path: Path) -> None:
    before = files_below(answered / "results")
    by_review = made(answered / "models", run(answered / "models", *from_review(answered), "--activate"))
    assert files_below(answered / "results") == before
    for source in ("a", "b"):
        (tmp_path / source).mkdir()
        for file in sorted((answered / "data" / source).glob("[0-9]*.wav")):
            shutil.copy(file, tmp_path / source)
    by_data = made(answered / "models", run(answered / "models", "--data", tmp_path))
    assert (by_review.kind, by_review.channels, len(by_review.probe_scores)) == (
        by_data.kind,
        "each",
        len(by_data.probe_scores),
    )
    assert by_review.source_names == ["a", "b"]
    for name in ("sources", "short"):
        ours, theirs = getattr(by_review, name), getattr(by_data, name)
        assert {source: len(each) for source, each in ours.items()} == {source: len(each) for source, each in theirs.items()}
        for source in ours:
            key = sorted
            assert key(sum(ours[source], ())) == pytest.approx(key(sum(theirs[source], ())), rel=1e-5)
    active = ModelRepository(answered / "models").version("normal").calibrations()
    assert [each.id for each in active] == [by_review.id]
    run(answered / "models", "--rollback")


def test_what_was_flagged_and_not_answered_is_asked_for(answered: Path) -> None:
    say(AnswerFile(answered / "answers.jsonl"), flagged(answered)[0], "withdrawn")
    before = files_below(answered / "models")
    refused = run(answered / "models", *from_review(answered))
    assert isinstance(refused.exception, CalibrationError)
    assert re.search(r"^1 flagged items are not answered .* answer them with `avizor review`", str(refused.exception))
    assert files_below(answered / "models") == before


def test_a_sample_of_the_job_is_enough(answered: Path) -> None:
    result = run(answered / "models", *from_review(answered), "--review-sample", 30)
    assert re.search(r"^a random 30 of 52 items of the job: \d called abnormal are left out", result.output, re.MULTILINE)
    assert 28 <= made(answered / "models", result).recordings() <= 30


def test_a_model_of_fit_is_calibrated_with_a_note_on_the_items_that_it_trained_with(answered: Path, tmp_path: Path) -> None:
    """The folder of the fit is what its last line streams, and what it trained with is not known by scores alone."""
    models = tmp_path / "models"
    shutil.copytree(answered / "models", models)
    assert "avizor fit" not in run(models, *from_review(answered)).stderr
    path = models / "normal" / "1" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["provenance"]["factory"] = "avizor fit --improve"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "the items that it trained with may not be among these" in run(models, *from_review(answered)).stderr


def test_another_graph_and_another_engine_than_the_jobs_are_refused(answered: Path, tmp_path: Path) -> None:
    shutil.copytree(answered / "results", tmp_path / "results")
    settings = json.loads((tmp_path / "results" / "job.json").read_text())
    (model,) = (each for each in settings["models"] if each["name"] == "normal")
    words = ["--from-review", tmp_path / "results", "--answers", answered / "answers.jsonl"]
    for change, message in (
        ({"sha256": "0" * 64}, "is not what version 1 is; name its version"),
        ({"tie": 0.01}, "this is not the engine that ran the job"),
        ({"calibration_id": None}, "had no calibration in this job"),
    ):
        changed = {**settings, "models": [{**model, **change}]}
        (tmp_path / "results" / "job.json").write_text(json.dumps(changed))
        refused = run(answered / "models", *words)
        assert isinstance(refused.exception, CalibrationError)
        assert message in str(refused.exception)


def test_options_of_another_way_are_refused(answered: Path) -> None:
    for words, message in (
        (("--data", answered / "data", "--answers", "x"), "--answers: goes with --from-review"),
        (("--data", answered / "data", "--review-sample", "9"), "--review-sample: goes with --from-review"),
        ((*from_review(answered), "--data", answered / "data"), "give one of --data, --from-review"),
        ((*from_review(answered), "--limit", "3"), "--limit: is about the data that is read"),
        ((*from_review(answered), "--channels", "mix"), "--channels: goes with --data"),
    ):
        refused = run(answered / "models", *words)
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())


def test_a_job_goes_on_beside_its_answers(job: Path) -> None:
    """Last, because the job has one recording more then."""
    file = AnswerFile(job / "results" / "answers.jsonl")
    say(file, flagged(job)[0], "normal")
    write_wav(job / "data" / "a" / "new.wav", tone(1.1, seed=9))
    done = batch(job / "data", job / "models", job / "results")
    assert done.returncode == 0, done.stderr
    assert query(f"select count(*) from '{job}/results/recordings/*.parquet' where model = 'normal'") == [(53,)]
    assert len(AnswerFile(file.path).answers().answered()) == 1
