"""exports.py writes answers that the programs they are for read back."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import crowsetta
import pytest
from support.reviewed_jobs import RATE, WINDOW, say, write_job
from support.sounds import SOUND, tone, write_wav

from avizor_inference.errors import SettingsError
from avizor_inference.items.data.item_files import read_recordings
from avizor_inference.items.dataset import Columns
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.review_answers import AnswerFile, Word
from avizor_review.exports import Exported, export_answers
from avizor_review.results import Results

HOSTILE = "a/=cmd|' /C calc'!A1\t<b>.wav"


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    """Three items of three windows of which all are flagged, one of none, of which two are files."""
    scores = {uri: [9.0, 8.0, 7.0] for uri in ("a/1.wav", "a/2.wav", HOSTILE)} | {"b/3.wav": [1.0, 2.0]}
    p_values = {uri: 0.5 if uri == "b/3.wav" else 0.01 for uri in scores}
    with Results.open(write_job(tmp_path / "results", scores, p_values, 0.05)) as opened:
        yield opened


@pytest.fixture
def file(results: Results) -> AnswerFile:
    file = AnswerFile(results.folder / "answers.jsonl")
    say(file, "a/1.wav", "abnormal", "ana", note='=HYPERLINK("http://x")\nbearing?\ttwo')
    say(file, "a/1.wav", "normal", "ben")
    say(file, "a/2.wav", "normal", "ana", channel=0, start_sample=WINDOW)
    say(file, HOSTILE, "abnormal", "@ana")
    say(file, "b/3.wav", "normal", "ana")
    return file


def test_csv_has_a_line_for_each_answer_and_no_formula(results: Results, file: AnswerFile, tmp_path: Path) -> None:
    assert export_answers(results.tables, file.answers(), "csv", tmp_path / "out.csv") == Exported(5, 0)
    with (tmp_path / "out.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["uri"], row["answer"], row["reviewer"]) for row in rows] == [
        ("a/1.wav", "abnormal", "ana"),
        ("a/1.wav", "normal", "ben"),
        ("a/2.wav", "normal", "ana"),
        (HOSTILE, "abnormal", "'@ana"),
        ("b/3.wav", "normal", "ana"),
    ]
    assert rows[0]["note"] == '\'=HYPERLINK("http://x")\nbearing?\ttwo'
    assert (float(rows[0]["p_value"]), rows[2]["start_sample"], rows[0]["source"]) == (0.01, str(WINDOW), "a")
    assert not [cell for row in rows for cell in row.values() if cell and cell.startswith(("=", "@", "+", "-"))]


def test_the_name_of_a_source_is_no_formula_either(tmp_path: Path) -> None:
    uri = "=cmd|'x'!A1/1.wav"
    with Results.open(write_job(tmp_path / "results", {uri: [9.0]}, {uri: 0.01}, 0.05)) as results:
        file = AnswerFile(results.folder / "answers.jsonl")
        say(file, uri, "abnormal")
        export_answers(results.tables, file.answers(), "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as opened:
        (row,) = csv.DictReader(opened)
    assert row["source"] == "'=cmd|'x'!A1"


def test_selections_are_read_by_what_reads_raven(results: Results, file: AnswerFile, tmp_path: Path) -> None:
    assert export_answers(results.tables, file.answers(), "raven", tmp_path / "raven") == Exported(4, 0)
    labels = {}
    for path in (tmp_path / "raven").iterdir():
        boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Annotation").to_bbox()
        labels[path.name.split("-")[0]] = [(box.onset, box.offset, box.high_freq, box.label) for box in boxes]
    window = WINDOW / RATE
    assert labels["1"] == [
        (pytest.approx(number * window), pytest.approx((number + 1) * window), RATE / 2, "disagreed") for number in range(3)
    ]
    assert [label for *_, label in labels["2"]] == ["normal"]
    assert labels["2"][0][0] == pytest.approx(window)
    assert len(labels["3"]) == 1, "the most unusual window stands for a recording without a flagged one"
    (text,) = (path.read_text() for path in (tmp_path / "raven").glob("1-*"))
    assert "bearing? two" in text
    assert {line.count("\t") for line in text.splitlines()} == {11}


def test_labels_are_read_by_what_reads_audacity(results: Results, file: AnswerFile, tmp_path: Path) -> None:
    export_answers(results.tables, file.answers(), "audacity", tmp_path / "audacity")
    (path,) = (tmp_path / "audacity").glob("1-*.labels.txt")
    sequence = crowsetta.formats.seq.AudSeq.from_file(path).to_seq()
    window = WINDOW / RATE
    assert sequence.onsets_s == pytest.approx([0, window, 2 * window], abs=1e-5)
    assert set(sequence.labels) == {"disagreed normal p=0.01"}


def test_what_is_agreed_on_is_labelled_data(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--evaluate-on` reads the table with `--path-column uri`."""
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "a" / "1.wav", tone(1.0))
    write_wav(tmp_path / "b" / "3.wav", tone(1.0))
    file = AnswerFile(results.folder / "answers.jsonl")
    words: tuple[tuple[str, Word], ...] = (
        ("a/1.wav", "abnormal"),
        ("b/3.wav", "normal"),
        ("a/2.wav", "normal"),
        (HOSTILE, "unsure"),
    )
    for uri, word in words:
        say(file, uri, word)
    assert export_answers(results.tables, file.answers(), "labels", Path("labels.csv")) == Exported(2, 1)
    columns = Columns(path="uri", source="label")
    read = read_recordings(Path("labels.csv"), SOUND, SourceRule(""), columns)
    assert [recording.source for recording in read] == ["abnormal", "normal"]


def test_a_place_that_is_taken_is_refused(results: Results, file: AnswerFile, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("x")
    with pytest.raises(SettingsError, match="is not an empty folder"):
        export_answers(results.tables, file.answers(), "raven", tmp_path / "folder")
    with pytest.raises(SettingsError, match="is a folder; give the name of a file"):
        export_answers(results.tables, file.answers(), "csv", tmp_path / "folder")
    with pytest.raises(SettingsError, match="cannot be written"):
        export_answers(results.tables, file.answers(), "csv", tmp_path / "nowhere" / "x.csv")
