"""projection/labels.py and colours.py: which label and colour a point has."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.pipeline.embedded_jobs import clouds, embedded_job

from avizor_inference.errors import SettingsError
from avizor_pipeline.projection.colours import Classes, colours_of
from avizor_pipeline.projection.labels import labels_of
from avizor_pipeline.projection.project import ProjectionRequest, project

_ROWS = pa.table(
    {
        "uri": ["sounds/a/1.wav", "sounds/a/2.wav", "sounds/b/3.wav"],
        "source": ["a", "a", "b"],
        "label": pa.nulls(3, pa.string()),
        "score": pa.array([1.0, 2.0, 3.0], pa.float32()),
        "is_anomaly": [False, None, True],
    }
)


@pytest.mark.parametrize("names", [["sounds/a/1.wav", "sounds/b/3.wav"], ["./sounds//a/1.wav", "sounds/b/3.wav"]])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_of_a_file_belong_to_its_uris(tmp_path: Path, names: list[str], suffix: str) -> None:
    path = tmp_path / f"truth{suffix}"
    if suffix == ".csv":
        path.write_text("uri,label\n" + "".join(f"{name},0{place}\n" for place, name in enumerate(names)))
    else:
        pq.write_table(pa.table({"uri": names, "label": ["00", "01"]}), path)
    found = labels_of(_ROWS, str(path), "")
    assert found is not None
    assert found.texts.to_pylist() == ["00", None, "01"], "a number of a label keeps its zeros"


def test_paths_of_a_file_of_labels_may_be_below_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sounds").mkdir()
    Path("sounds/truth.csv").write_text("path,label\na/1.wav,x\nb/3.wav,y\n")
    found = labels_of(_ROWS, "sounds/truth.csv", "")
    assert found is not None
    assert found.texts.to_pylist() == ["x", None, "y"]


def test_a_pattern_finds_the_label_in_the_uri() -> None:
    found = labels_of(_ROWS, None, r"/([a-z])/\d")
    assert found is not None
    assert found.texts.to_pylist() == ["a", "a", "b"]


def test_a_pattern_is_shown_as_it_was_given() -> None:
    found = labels_of(_ROWS, None, r"(\w)")
    assert found
    assert found.what == r"the uri by '(\w)'"


def test_what_gives_no_label_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("uri,label\nx.wav,1\n")
    (tmp_path / "columns.csv").write_text("name,class\nx.wav,1\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "twice.csv").write_text("uri,label\na.wav,1\na.wav,\na.wav,1\na.wav,2\n")
    (tmp_path / "latin.csv").write_bytes(b"uri,label,gr\xf6sse\nx.wav,1,2\n")
    for label, pattern, message in (
        (str(tmp_path / "other.csv"), "", "for no item of the results"),
        (str(tmp_path / "columns.csv"), "", "it needs `uri`"),
        (str(tmp_path / "empty.csv"), "", "cannot be read"),
        (str(tmp_path / "twice.csv"), "", "has two labels for a.wav, 1 and 2; leave one of them out"),
        (str(tmp_path / "absent.csv"), "", "cannot be read"),
        (str(tmp_path / "latin.csv"), "", "cannot be read"),
        ("truth", "", "give `predicted`"),
        ("predicted", "", "predicts no labels"),
        (None, "(", "not a regular expression"),
        (None, "wav", "has no group"),
        (None, "(flac)", "matches no item"),
        ("source", "(a)", "give one of them"),
    ):
        with pytest.raises(SettingsError, match=message):
            labels_of(_ROWS, label, pattern)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (pa.array([["a"]]), r"'label' holds list<.*>, which is no text"),
        (pa.array([b"\xff"], pa.binary()), "'label' holds binary, which is no text"),
    ],
)
def test_labels_that_are_no_texts_are_refused(tmp_path: Path, labels: pa.Array, said: str) -> None:
    pq.write_table(pa.table({"uri": ["sounds/a/1.wav"], "label": labels}), tmp_path / "truth.parquet")
    with pytest.raises(SettingsError, match=said):
        labels_of(_ROWS, str(tmp_path / "truth.parquet"), "")


def test_a_file_with_two_columns_of_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("uri,label,label\nsounds/a/1.wav,x,y\n")
    with pytest.raises(SettingsError, match="more than one column 'label'"):
        labels_of(_ROWS, str(tmp_path / "truth.csv"), "")


def test_colours_are_verdicts_where_there_are_no_labels() -> None:
    ((name, classes),) = colours_of(_ROWS, (), None).items()
    assert name == "verdict"
    assert isinstance(classes, Classes)
    assert classes.codes.tolist() == [0, -1, 1]


def test_a_colour_that_the_results_do_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="there is verdict, score, source"):
        colours_of(_ROWS, ("label",), None)


def test_rare_labels_share_one_colour(tmp_path: Path) -> None:
    names = [f"n{place:02d}" for place in range(30) for _ in range(3 if place > 9 else 1)]
    rows = pa.table({"uri": names, "source": names, "label": names, "score": pa.nulls(70), "is_anomaly": pa.nulls(70)})
    found = colours_of(rows, ("source",), None)["source"]
    assert isinstance(found, Classes)
    assert (len(found.names), found.others) == (20, "10 others")
    assert (found.codes < 0).sum() == 10


def test_a_picture_is_drawn_for_each_colour_and_odd_names_do_not_matter(tmp_path: Path) -> None:
    vectors, _ = clouds(40)
    labels = [("_hidden", "$x^$", "x" * 300)[place % 3] for place in range(40)]
    out = embedded_job(tmp_path / "out", vectors, labels=labels)
    report = project(out, ProjectionRequest(method="pca", colours=("label", "source")))
    assert report.pictures == ["projection/m-pca-label.png", "projection/m-pca-source.png"]
    for name in report.pictures:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
