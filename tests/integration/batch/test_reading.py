"""What a job writes is read by the programs that its users have: each line of docs/batch.md, and editors' tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import crowsetta
import numpy as np
import pytest
from integration.jobs import AVIZOR, batch, files_below, part_digests, query
from support.environment import ROOT
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

LINES = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "batch.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def results(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a job over four usual recordings, and one in stereo of another kind whose name needs care."""
    folder = tmp_path_factory.mktemp("reading")
    for number in range(4):
        write_wav(folder / "data" / "a" / f"{number}.wav", tone(3 * 4096 / SAMPLE_RATE, seed=100 + number))
    noise = 0.3 * np.random.default_rng(0).standard_normal(3 * 4096).astype(np.float32)
    write_wav(folder / "data" / "a" / "odd one.wav", np.clip(noise, -1, 1)[:, None].repeat(2, axis=1))
    done = batch(folder / "data", models, folder / "results", "--q-values", "--tables", "raven,audacity,regions")
    assert done.returncode == 0, done.stderr
    assert "results: windows/, recordings/, q_values.parquet, raven/, audacity/, regions.parquet, summary.json\n" in done.stdout
    return folder / "results"


@pytest.mark.parametrize("block", LINES, ids=lambda block: block.split()[1])
def test_each_line_of_the_docs_reads_rows(results: Path, monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    monkeypatch.chdir(results.parent)
    names: dict[str, Any] = {}
    imported, *lines = block.strip().splitlines()
    exec(imported, names)
    for line in filter(None, lines):
        assert len(eval(line, names)) > 0, line


def test_q_values_of_a_job_belong_to_its_recordings(results: Path) -> None:
    rows = query(
        f"select count(*), count(q_value), bool_and(q_value >= q.p_value), bool_and(q.p_value = r.p_value)"
        f" from '{results}/q_values.parquet' q join '{results}/recordings/*.parquet' r using (uri, model)"
    )
    assert rows == [(5, 5, True, True)]


def flagged(results: Path) -> list[tuple[Any, ...]]:
    table = f"'{results}/windows/*.parquet'"
    return query(f"select channel, start_s, end_s, uri from {table} where is_anomaly and uri like '%odd%' order by 2, 1")


def test_regions_join_the_flagged_windows_of_each_channel(results: Path) -> None:
    regions = query(
        f"select channel, start_s, end_s, windows, uri from '{results}/regions.parquet' where uri like '%odd%' order by 1"
    )
    windows = flagged(results)
    assert len(windows) == 6
    start, end, uri = windows[0][1], windows[-1][2], windows[0][3]
    assert regions == [(channel, start, end, 3, uri) for channel in (0, 1)]


def test_flagged_windows_are_read_by_what_reads_raven(results: Path) -> None:
    (path,) = (results / "raven").glob("odd_one-*.selections.txt")
    boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Annotation").to_bbox()
    expected = flagged(results)
    assert len(expected) == 6
    assert [(box.onset, box.offset) for box in boxes] == [
        pytest.approx((start, end), abs=1e-6) for _, start, end, _ in expected
    ]
    assert {(box.label, box.low_freq, box.high_freq) for box in boxes} == {("normal", 0.0, SAMPLE_RATE / 2)}
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [str(number + 1) for number in range(6)]
    assert [int(row[2]) - 1 for row in rows[1:]] == [channel for channel, *_ in expected]
    assert {row[7] for row in rows[1:]} == {uri for *_, uri in expected}


def test_flagged_windows_are_read_by_what_reads_audacity(results: Path) -> None:
    (path,) = (results / "audacity").glob("odd_one-*.labels.txt")
    sequence = crowsetta.formats.seq.AudSeq.from_file(path).to_seq()
    assert list(zip(sequence.onsets_s, sequence.offsets_s, strict=True)) == [
        pytest.approx((start, end), abs=1e-6) for _, start, end, _ in flagged(results)
    ]
    assert all(label.startswith("normal p=0.0") for label in sequence.labels)


def test_derived_files_are_made_again_without_computing_and_removed_when_nobody_asks(results: Path, models: Path) -> None:
    parts, written = part_digests(results), files_below(results / "raven")
    again = batch(results.parent / "data", models, results, "--tables", "raven")
    assert again.returncode == 0, again.stderr
    assert part_digests(results) == parts
    assert [name for name, *_ in files_below(results / "raven")] == [name for name, *_ in written]
    assert not (results / "audacity").exists()
    assert not (results / "q_values.parquet").exists()
    assert not (results / "regions.parquet").exists()
    assert "results: windows/, recordings/, raven/, summary.json\n" in again.stdout
    wrong = batch(results.parent / "data", models, results, "--tables", "raven,praat")
    assert wrong.returncode == 2
    assert "'praat' is not known; choose of raven, audacity, regions" in wrong.stderr


@pytest.mark.parametrize("option", [("--q-values",), ("--tables", "raven")])
def test_what_would_be_empty_for_lack_of_a_calibration_is_refused_before_the_job(
    results: Path, models: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    words = (
        AVIZOR,
        "batch",
        results.parent / "data",
        "--models",
        models,
        "--model",
        "kinds",
        "--out",
        tmp_path / "out",
        *option,
    )
    for more in ((), ("--dry-run",)):
        refused = warm_run([*map(str, words), *more])
        assert refused.returncode == 1
        assert f"Error: {option[0]}: no model of the job has a calibration, and so nothing is flagged" in refused.stderr
    assert not (tmp_path / "out").exists()
