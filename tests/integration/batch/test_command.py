"""The batch command works as users run it: real files, real worker processes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from integration.jobs import AVIZOR, batch, query
from support.networks import PaddedAutoencoder
from support.sounds import SAMPLE_RATE, SOUND, tone, write_wav
from support.warm_starts import warm_run

from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.source_rule import SourceRule


def test_rows_recordings_and_summary(data: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = batch(data, models, out)
    assert result.returncode == 0, result.stderr
    assert "15 files" in result.stdout

    keys = query(f"select count(*), count(distinct (uri, channel, start_sample, model)) from '{out}/windows/*.parquet'")
    # 13 of three windows, the short one, and two channels of half a second (one window each), by two models
    assert keys == [(2 * (13 * 3 + 1 + 2), 2 * (13 * 3 + 1 + 2))]
    assert list((out / "dead_letters").iterdir()) == []  # it is there, so that whoever looks finds that there are none
    recordings = query(f"select count(*), count(distinct uri) from '{out}/recordings/*.parquet'")
    assert recordings == [(30, 15)]
    flagged = query(f"select uri, p_value from '{out}/recordings/*.parquet' where is_anomaly")
    assert [(Path(uri).name, p) for uri, p in flagged if "odd" in uri] == [("odd.wav", pytest.approx(1 / 61))]
    for table in ("windows", "recordings"):
        judges = query(f"select distinct model, source, judged_by from '{out}/{table}/*.parquet' where p_value > 1 / 31")
        assert sorted(row for row in judges if row[0] == "normal") == [("normal", "a", "a"), ("normal", "b", "b")]
        odd = query(f"select distinct judged_by from '{out}/{table}/*.parquet' where uri like '%odd%' and model = 'normal'")
        assert odd == [("*",)]  # more unusual than all of its own source
        assert query(f"select count(judged_by) from '{out}/{table}/*.parquet' where model = 'kinds'") == [(0,)]
    (short,) = query(f"select end_sample, end_s from '{out}/windows/*.parquet' where uri like '%short%' and model = 'kinds'")
    assert short == (800, 0.1)
    (best,) = query(
        f"select label = top_k[1].label and probability = top_k[1].probability, len(top_k)"
        f" from '{out}/windows/*.parquet' where model = 'kinds' limit 1"
    )
    assert best == (True, 3)


def test_neither_the_job_nor_its_workers_load_pandas(
    data: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = tmp_path / "imported"
    (tmp_path / "instead" / "pandas").mkdir(parents=True)
    code = f"import pathlib\npathlib.Path({str(imported)!r}).touch()\nraise ImportError('loaded')\n"
    (tmp_path / "instead" / "pandas" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "instead"), os.environ.get("PYTHONPATH", "")]))
    result = batch(data, models, tmp_path / "out", "--limit", "2")
    assert result.returncode == 0, result.stderr
    assert not imported.exists()


def test_recordings_shorter_than_a_window_are_not_judged_and_the_summary_says_so(
    data: Path, models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = batch(data, models, out)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^  default +1 +0 +- +1$", result.stdout, re.MULTILINE)
    assert "see not_judged in" in result.stdout
    rows = query(
        f"select uri, score > 0, p_value, is_anomaly, not_judged from '{out}/recordings/*.parquet' where not_judged <> ''"
    )
    assert sorted(Path(uri).name for uri, *_ in rows) == ["short.wav", "stereo.wav"]
    for _, *verdict, reason in rows:
        assert verdict == [True, None, None]
        assert "shorter than the model's window" in reason
    windows = query(f"select count(score), count(p_value) from '{out}/windows/*.parquet' where uri like '%/short.wav'")
    assert windows == [(1, 0)]


@pytest.mark.parametrize(("model", "found"), [("kinds", "0 dead letters"), ("normal", "0 anomalies, 0 dead letters")])
def test_progress_speaks_of_anomalies_only_where_a_model_judges(models: Path, tmp_path: Path, model: str, found: str) -> None:
    recording = write_wav(tmp_path / "data" / "a" / "1.wav", tone(3 * 4096 / SAMPLE_RATE, seed=100))
    words = ("batch", recording, "--models", models, "--model", model, "--out", tmp_path / "out", "--alpha", "0.05")
    result = warm_run([str(AVIZOR), *map(str, words)], timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.search(rf"^avizor batch: 1/1 items, \S+ items?/s, 0:00:00 left, {found}$", result.stderr, re.MULTILINE)


def test_a_source_that_was_never_calibrated_is_judged_by_all_others_and_the_summary_says_so(
    models: Path, tmp_path: Path
) -> None:
    write_wav(tmp_path / "data" / "c" / "1.wav", tone(3 * 4096 / SAMPLE_RATE, seed=100))
    result = batch(tmp_path / "data", models, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "Note: c never calibrated" in result.stdout
    dry = batch(tmp_path / "data", models, tmp_path / "other", "--dry-run")
    assert "normal: Note: c never calibrated" in dry.stdout
    (judged_by,) = query(f"select judged_by from '{tmp_path}/out/recordings/*.parquet' where model = 'normal'")
    assert judged_by == ("*",)


def test_the_summary_is_a_file_and_can_be_printed_as_json(data: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = batch(data, models, out, "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)  # and nothing else is printed there
    assert "15 files" in result.stderr
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["files"], summary["earlier_files"], summary["windows"]) == (15, 0, 84)
    normal = next(model for model in summary["models"] if model["name"] == "normal")
    (flagged,) = query(f"select count(*) from '{out}/recordings/*.parquet' where is_anomaly")
    assert (normal["anomalies"],) == flagged
    assert normal["sources"]["default"] == {"recordings": 1, "anomalies": 0, "not_judged": 1, "short": 1, "drift": 0.0}
    again = batch(data, models, out, "--json")
    assert json.loads(again.stdout)["earlier_files"] == 15
    assert json.loads(again.stdout)["models"] == summary["models"]


@pytest.mark.slow
def test_a_job_that_another_version_began_is_not_gone_on_with(data: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(data, models, out).returncode == 0
    job = json.loads((out / "job.json").read_text())
    for other in ({name: value for name, value in job.items() if name != "rows_format"}, job | {"rows_format": 1}):
        (out / "job.json").write_text(json.dumps(other))
        result = batch(data, models, out)
        assert result.returncode == 1
        assert "another version of Avizor" in result.stderr or "with other rows_format" in result.stderr


def test_a_source_pattern_that_matches_nothing_is_refused_and_one_that_misses_some_says_so(
    data: Path, models: Path, tmp_path: Path
) -> None:
    for more in ((), ("--dry-run",)):
        result = batch(data, models, tmp_path / "out", "--source-pattern", "nothing-(.)", *more)
        assert result.returncode == 1
        assert "--source-pattern 'nothing-(.)' matches none of the 15 files" in result.stderr
    result = batch(data, models, tmp_path / "out", "--source-pattern", "^(a)/")
    assert result.returncode == 0, result.stderr
    assert "8 files do not match --source-pattern; their source is 'default'" in result.stdout
    assert "files in the folder itself" in result.stdout


def test_sources_with_too_few_recordings_are_judged_together_and_the_summary_says_so(models: Path, tmp_path: Path) -> None:
    for source in ("a", "b"):
        write_wav(tmp_path / "data" / source / "1.wav", tone(3 * 4096 / SAMPLE_RATE, seed=100))
    noise = 0.3 * np.random.default_rng(0).standard_normal(3 * 4096).astype(np.float32)
    write_wav(tmp_path / "data" / "a" / "odd.wav", np.clip(noise, -1, 1))
    out = tmp_path / "out"
    result = batch(tmp_path / "data", models, out, "--alpha", "0.02", "--workers", "1")
    assert result.returncode == 0, result.stderr
    assert "Note: a (30), b (30): too few calibration recordings for alpha 0.02, which needs 49" in result.stdout
    assert "never calibrated" not in result.stdout
    flagged = query(f"select uri, judged_by from '{out}/recordings/*.parquet' where is_anomaly")
    assert [(Path(uri).name, by) for uri, by in flagged] == [("odd.wav", "*")]  # 30 of its own support no alpha of 0.02


def test_a_calibration_from_a_flat_folder_stands_for_every_source(data: Path, tmp_path: Path) -> None:
    for seed in range(19):
        write_wav(tmp_path / "flat" / f"{seed}.wav", tone(3 * 4096 / SAMPLE_RATE, seed=seed))
    normal = list(read_recordings(tmp_path / "flat", SOUND, SourceRule()))
    request = ExportRequest("flat", "reconstruct", SOUND, normal=normal, serving={"max_batch_size": 16})
    export_model(PaddedAutoencoder(), request, tmp_path / "models")
    out, model = tmp_path / "out", ("--models", str(tmp_path / "models"), "--model", "flat", "--alpha", "0.05")
    arguments = [str(AVIZOR), "batch", str(data), *model, "--out", str(out)]
    result = warm_run(arguments)
    assert result.returncode == 0, result.stderr
    assert "never calibrated" not in result.stdout
    assert "too few calibration recordings" not in result.stdout
    assert query(f"select count(*) from '{out}/recordings/*.parquet' where p_value is not null") == [(13,)]


def test_unreadable_files_become_dead_letters_and_the_job_goes_on(data: Path, models: Path, tmp_path: Path) -> None:
    (data / "a" / "broken.wav").write_text("no sound at all")
    (data / "a" / "empty.wav").touch()
    cut = data / "b" / "cut.flac"
    soundfile.write(cut, tone(30.0, seed=9), SAMPLE_RATE)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    out = tmp_path / "out"
    result = batch(data, models, out)
    assert result.returncode == 3, result.stderr
    assert "3 files could not be read" in result.stdout
    letters = query(f"select uri, stage, error_class, \"offset\" > 0 from '{out}/dead_letters/*.parquet' order by uri")
    assert [(Path(uri).name, *rest) for uri, *rest in letters] == [
        ("broken.wav", "decode", "MediaError", False),
        ("empty.wav", "decode", "MediaError", False),
        ("cut.flac", "decode", "MediaError", True),
    ]
    # a recording that was only heard in part has no rows
    assert query(f"select count(*) from '{out}/recordings/*.parquet' where uri like '%cut%'") == [(0,)]
    assert query(f"select count(*) from '{out}/windows/*.parquet' where uri like '%cut%'") == [(0,)]
    assert query(f"select count(distinct uri) from '{out}/recordings/*.parquet'") == [(15,)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--alpha", "0.001"], "needs at least 999 normal items and the calibration of 'normal' has 60"),
        (["--alpha", "2"], "--alpha 2 is not between 0 and 1"),
        (["--model", "nothing"], "no model named 'nothing'"),
        (["--model", "kinds"], "a model is named twice"),
        (["--device", "cuda"], "asks for a GPU"),
        (["--source-pattern", "("], "not a regular expression"),
    ],
)
def test_a_job_that_cannot_work_fails_before_it_begins(
    data: Path, models: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    result = batch(data, models, tmp_path / "out", *more)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_dry_run_says_what_would_be_done(data: Path, models: Path, tmp_path: Path) -> None:
    result = batch(data, models, tmp_path / "out", "--dry-run")
    assert result.returncode == 0
    assert "15 files" in result.stdout
    assert not (tmp_path / "out").exists()


def test_no_audio(models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = batch(tmp_path / "data", models, tmp_path / "out")
    assert result.returncode == 1
    assert "no audio files" in result.stderr
