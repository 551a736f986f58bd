"""Results: what a page asks of a results folder."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.result_tables import add_commits, write_results

from avizor_inference.errors import JobError, SettingsError
from avizor_inference.job_tables import DEAD_LETTERS, RECORDINGS, TABLES
from avizor_review.item_query import ItemQuery
from avizor_review.results import Results
from avizor_review.tables import COLUMNS


def rows(*p_values: float | None, source: str = "a", model: str = "m", **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "uri": f"{source}/{place:03d}.wav",
            "source": source,
            "model": model,
            "windows": 1,
            "p_value": p,
            "score": 1 - (p or 0),
        }
        | {"is_anomaly": None if p is None else p <= 0.05}
        | more
        for place, p in enumerate(p_values)
    ]


def test_items_come_most_unusual_first_page_by_page(tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path, recordings=rows(0.5, 0.01, 0.2, 0.03, None))) as results:
        pages = [results.items(limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [[item.p_value for item in page] for page in pages] == [[0.01, 0.03], [0.2, 0.5], [None]]


@pytest.mark.parametrize(("alpha", "flagged"), [(None, 2), (0.02, 1), (0.03, 2), (0.5, 4)])
def test_an_item_is_flagged_at_any_alpha(tmp_path: Path, alpha: float | None, flagged: int) -> None:
    with Results.open(write_results(tmp_path, recordings=rows(0.5, 0.01, 0.2, 0.03, None))) as results:
        assert results.count(ItemQuery(alpha=alpha, flagged=True)) == flagged
        assert results.count(ItemQuery(alpha=alpha, flagged=False)) == 5 - flagged
        assert results.sources(alpha)[0].flagged == flagged


def test_the_most_uncertain_are_those_nearest_to_alpha(tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path, recordings=rows(0.5, 0.01, 0.06, 0.03), alpha=0.05)) as results:
        assert [item.p_value for item in results.items(ItemQuery(order="uncertain"))] == [0.06, 0.03, 0.01, 0.5]


def test_items_are_found_by_source_model_label_and_a_part_of_their_name(tmp_path: Path) -> None:
    both = rows(0.1, 0.2, source="a") + rows(0.3, source="b", model="other", label="Hiss", probability=0.9)
    with Results.open(write_results(tmp_path, recordings=both)) as results:
        assert results.count(ItemQuery(source="a")) == 2
        assert results.count(ItemQuery(source="")) == 0
        assert results.count(ItemQuery(model="other")) == results.count(ItemQuery(label="Hiss")) == 1
        assert [item.uri for item in results.items(ItemQuery(text="A/001"))] == ["a/001.wav"]


def test_what_is_asked_for_is_never_sql(tmp_path: Path) -> None:
    hostile = "'; DROP VIEW recordings; --"
    with Results.open(write_results(tmp_path, recordings=rows(0.1, source=hostile))) as results:
        assert results.count(ItemQuery(source=hostile, text=hostile, model="m")) == 1
        assert results.count(ItemQuery(text="%")) == 0


def test_counts_tell_sources_and_models_apart(tmp_path: Path) -> None:
    judged = rows(0.01, 0.5) + rows(0.04, None, source="b", not_judged=None)
    judged[-1]["not_judged"] = "too short"
    with Results.open(write_results(tmp_path, recordings=judged)) as results:
        assert [tuple(counts) for counts in results.sources()] == [("m", "a", 2, 2, 1, 0), ("m", "b", 2, 1, 1, 1)]


def test_dead_letters_of_one_cause_are_counted_together(tmp_path: Path) -> None:
    letters = [
        {"uri": f"a/{n}.wav", "source": "a", "error_class": "MediaError", "message": f"{n}.wav: cut off after {n}0 samples"}
        for n in range(3)
    ] + [{"uri": "a/x.wav", "source": "a", "error_class": "DecoderEnded", "message": "x.wav: the process ended"}]
    with Results.open(write_results(tmp_path, dead_letters=letters)) as results:
        assert [tuple(cause) for cause in results.causes()] == [
            ("MediaError", "cut off after N samples", 3, "a/0.wav"),
            ("DecoderEnded", "the process ended", 1, "a/x.wav"),
        ]
        assert results.dead_letter_count() == 4
        assert [letter[0] for letter in results.dead_letters(2, 2)] == ["a/2.wav", "a/x.wav"]


def test_a_number_in_a_name_is_no_number_of_a_cause(tmp_path: Path) -> None:
    message = "WAV, W64, AIFF and MP3 are; MP4, QuickTime with PyAV: 1,024 of 2.5 s, column f10"
    letters = [{"uri": "a.wav", "source": "a", "error_class": "MediaError", "message": message}]
    with Results.open(write_results(tmp_path, dead_letters=letters)) as results:
        (cause,) = results.causes()
    assert tuple(cause)[1] == "WAV, W64, AIFF and MP3 are; MP4, QuickTime with PyAV: N of N s, column f10"


def test_the_window_that_tells_most_has_the_highest_score_or_the_surest_class(tmp_path: Path) -> None:
    windows = [
        {"uri": "u", "model": model, "channel": 0, "start_sample": start, "end_sample": start + 8, name: value}
        for model, name in (("m", "score"), ("c", "probability"))
        for start, value in ((0, 0.2), (8, 0.9), (16, 0.4))
    ]
    with Results.open(write_results(tmp_path, windows=windows)) as results:
        telling = results.telling_windows([("u", "m"), ("u", "c"), ("absent", "m")])
        assert {key: window.start_sample for key, window in telling.items()} == {("u", "m"): 8, ("u", "c"): 8}
        assert [window.start_sample for window in results.windows("u", "m", limit=2)] == [0, 8]


@pytest.mark.parametrize(
    "name", ["20230501_120000.WAV", "rec-2023-05-01T12-00-00.wav", "A7/2023-05-01 12:00:00.flac", "day.tar#20230501T120000.wav"]
)
def test_the_time_of_an_item_is_in_its_name(tmp_path: Path, name: str) -> None:
    with Results.open(write_results(tmp_path, recordings=[{"uri": name, "source": "a", "model": "m"}])) as results:
        assert results.time_is_named
        assert results.items(ItemQuery(order="time"))[0].time == results.items()[0].time == datetime(2023, 5, 1, 12)


def test_without_a_time_in_each_name_it_is_that_of_the_file(tmp_path: Path) -> None:
    recordings = [{"uri": name, "source": "a", "model": "m"} for name in ("20230501_120000.WAV", "x.wav", "t.tar#1")]
    changed = 1_700_000_000 * 10**9
    rounds = [{"uri": "20230501_120000.WAV", "modified_ns": changed}, {"uri": "x.wav", "modified_ns": changed + 10**9}]
    with Results.open(write_results(tmp_path, recordings=recordings, rounds=rounds)) as results:
        found = {item.uri: item.time for item in results.items(ItemQuery(order="time"))}
        assert list(found) == ["20230501_120000.WAV", "x.wav", "t.tar#1"]
        assert found["x.wav"] == datetime(2023, 11, 14, 22, 13, 21)
        assert found == {item.uri: item.time for item in results.items()}
        assert found["t.tar#1"] is None


def test_parts_of_shards_that_are_not_finished_do_not_count(tmp_path: Path) -> None:
    out = write_results(tmp_path, recordings=rows(0.1, 0.2))
    add_commits(out)
    pq.write_table(pa.Table.from_pylist(rows(0.3, source="z"), RECORDINGS), out / "recordings" / "ffffffffffffffff.parquet")
    with Results.open(out) as results:
        assert results.count() == 2
        (out / "commits" / "ffffffffffffffff.json").write_text("{}")
        results.tables.reload()
        assert results.count() == 3


def test_an_empty_job_has_no_items(tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path)) as results:
        assert (results.items(), results.count(), results.sources(), results.causes(), results.planned()) == ([], 0, [], [], 0)
        assert not results.time_is_named


@pytest.mark.parametrize("name", ["res[1]*", "it's ?", "x=1", "ñandú"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with Results.open(write_results(folder, recordings=rows(0.1))) as results:
        assert results.count() == 1


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "absent", "there is no such folder"),
        (lambda folder: folder, "it has no job.json"),
        (lambda folder: Path("s3://bucket/results"), "copy them to a disk"),
        (lambda folder: (folder / "job.json").write_text("[]") and folder, "holds no results"),
    ],
)
def test_what_is_no_results_folder_is_refused(tmp_path: Path, make: Any, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Results.open(make(tmp_path))


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    out = write_results(tmp_path)
    pq.write_table(pa.table({"uri": ["a"]}), out / "recordings" / "0123456789abcdef.parquet")
    with pytest.raises(SettingsError, match="another version"):
        Results.open(out)


def test_a_damaged_part_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    out = write_results(tmp_path, dead_letters=[{"uri": "u", "message": "m"}])
    path = out / "dead_letters" / "0123456789abcdef.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(JobError, match="avizor verify"):
        Results.open(out)


def test_the_columns_are_those_that_a_job_writes() -> None:
    with duckdb.connect() as connection:
        for table, schema in TABLES.items():
            empty = connection.from_arrow(schema.empty_table())
            types = {name: str(kind).replace('"', "") for name, kind in zip(empty.columns, empty.types, strict=True)}
            assert dict(COLUMNS[table]).items() <= types.items(), table
    assert {"uri", "message"} <= set(DEAD_LETTERS.names)


def test_what_is_not_a_number_was_not_judged(tmp_path: Path) -> None:
    nan = float("nan")
    judged = [*rows(0.5, nan, 0.01), *rows(0.2, source="b", score=nan)]
    with Results.open(write_results(tmp_path, recordings=judged)) as results:
        found = {item.uri: (item.p_value, item.score) for item in results.items()}
        assert found["a/001.wav"] == (None, None)
        assert found["b/000.wav"] == (0.2, None)
        assert [(each.source, each.judged) for each in results.sources(0.05)] == [("a", 2), ("b", 1)]


def test_an_item_without_a_source_is_shown_like_others(tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path, recordings=rows(0.5, source=None))) as results:  # type: ignore[arg-type]
        assert [item.source for item in results.items()] == [""]


def test_a_damaged_table_is_named_without_what_was_asked_of_it(tmp_path: Path) -> None:
    write_results(tmp_path, recordings=rows(0.5))
    (path,) = (tmp_path / "recordings").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(JobError) as refused:
        Results.open(tmp_path)
    assert str(path) in str(refused.value)
    assert "SELECT" not in str(refused.value)
    assert "^^" not in str(refused.value)


def test_a_pipe_among_the_tables_is_no_table_and_is_not_waited_for(tmp_path: Path) -> None:
    write_results(tmp_path, recordings=rows(0.5))
    os.mkfifo(tmp_path / "recordings" / "pipe.parquet")
    with pytest.raises(JobError, match=r"pipe\.parquet.* no file"):
        Results.open(tmp_path)


def test_the_most_unusual_windows_are_found_wherever_they_are(tmp_path: Path) -> None:
    """A day of sound has more windows than can be listed."""
    many = [
        {"uri": "u", "model": "m", "channel": 0, "start_sample": 8 * place, "end_sample": 8 * place + 8}
        | {"start_s": float(place), "end_s": place + 1.0, "score": float(place % 7), "p_value": 0.9, "is_anomaly": False}
        for place in range(200)
    ]
    many[199] |= {"p_value": 0.001, "score": 50.0, "is_anomaly": True}
    many[40] |= {"p_value": 0.01, "is_anomaly": True}
    with Results.open(write_results(tmp_path, recordings=rows(0.001), windows=many)) as results:
        assert [window.start_sample for window in results.unusual_windows("u", "m", 2)] == [8 * 199, 8 * 40]
        assert results.window("u", "m", 0, 8 * 40) == results.unusual_windows("u", "m", 2)[1]
        assert results.window("u", "m", 1, 8) is None
        flagged = results.flagged_windows("u", "m", 0, 150.0, 250.0, 10)
        assert [window.start_s for window in flagged] == [199.0]
