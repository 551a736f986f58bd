"""reporting/: the summary, the metrics and the progress of a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import generate_latest

from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import JobModel, open_models
from avizor_pipeline.reporting.job_summary import summarise
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.summary import source_notes, summary_lines
from avizor_pipeline.request import JobRequest
from avizor_pipeline.sinks.part_files import Commit, SourceCount

OUT = Path("results")


@pytest.fixture
def opened(models: Path) -> Sequence[JobModel]:
    return open_models(JobRequest(("data",), ("kinds", "normal"), models).to_settings())


@pytest.fixture
def outcome() -> Outcome:
    outcome = Outcome()
    for commit in commits():
        outcome.add(commit)
    return outcome


def commits() -> Iterator[Commit]:
    """Four shards, with three files of the calibrated source `a` and one of `c`."""
    for shard, source, flagged in (("1", "a", 1), ("2", "a", 0), ("3", "a", 0), ("4", "c", 1)):
        yield Commit(
            shard=shard, files=1, windows=6, dead_letters=0, rows={}, sha256={},
            labels={"kinds": {"low": 1}, "normal": {}},
            sources={
                "kinds": {source: SourceCount(recordings=1)},
                "normal": {source: SourceCount(recordings=1, anomalies=flagged)},
            },
        )  # fmt: skip


def test_the_summary_says_what_was_found_by_model_and_source(opened: Sequence[JobModel], outcome: Outcome) -> None:
    assert list(summary_lines(outcome, opened, 0.05, OUT, seconds=2.0)) == [
        "4 files, 24 window rows in 2.0 s (2 items/s)",
        "kinds: items by class",
        "  class  items",
        "  low        4",
        "normal: recordings flagged at a promised false-alarm rate of 5.00%",
        "  source  recordings  flagged   share  not judged",
        "  c                1        1  100.0%           0",
        "  a                3        1   33.3%           0",
        "  Note: c never calibrated: judged by all other sources together, without the promise; the calibration has a, b",
        "results in results: windows/, recordings/, summary.json",
    ]


def test_of_thousands_of_sources_the_first_are_named(opened: Sequence[JobModel]) -> None:
    (model,) = (each for each in opened if each.calibration)
    never, few = {f"n{number:04}": 0 for number in range(3000)}, {f"f{number:04}": 7 for number in range(3000)}
    notes = list(source_notes({**never, **few}, model, 0.05))
    assert "f0019 (7) and 2980 more: too few" in notes[0]
    assert "n0019 and 2980 more never calibrated" in notes[1]
    assert all(len(note) < 700 for note in notes)


def test_classes_that_are_equally_frequent_come_by_their_names(opened: Sequence[JobModel], outcome: Outcome) -> None:
    outcome.labels["kinds"] = Counter({"b": 2, "c": 1, "a": 2, "d": 3})
    lines = list(summary_lines(outcome, opened, 0.05, OUT, seconds=2.0))
    assert [line.split()[0] for line in lines[3:7]] == ["d", "a", "b", "c"]


def test_a_cross_fitted_calibration_promises_its_bound(opened: Sequence[JobModel], outcome: Outcome) -> None:
    crossed = [
        replace(each, calibration=each.calibration.model_copy(update={"folds": 5})) if each.calibration else each
        for each in opened
    ]
    lines = list(summary_lines(outcome, crossed, 0.05, OUT, seconds=2.0))
    assert "normal: recordings flagged at alpha 5.00%" in lines
    (note,) = (line for line in lines if "cross-fitted" in line)
    assert "at alpha 0.05, at most 16.7% of normal items are flagged on average" in note


def test_the_summary_counts_what_was_not_read_not_judged_or_clipped(opened: Sequence[JobModel]) -> None:
    outcome = Outcome(files=5, dead_letters=2, clipped=1, peak=8.04)
    outcome.left_out.add(Path("notes.txt"))
    outcome.sources = {"normal": {"a": SourceCount(recordings=3, not_judged=1, short=1)}}
    text = "\n".join(summary_lines(outcome, opened[1:], 0.05, OUT, seconds=0.0))
    assert "  source  recordings  flagged  share  not judged" in text
    assert "  a                3        0   0.0%           1" in text
    assert "see not_judged in results/recordings" in text
    assert "1 file holds samples beyond full scale, up to 8.04: clipped to -1..1" in text
    assert "left out: 1 .txt" in text
    assert "several channels" not in text
    assert "2 files could not be read: see results/dead_letters/*.parquet" in text
    assert text.endswith("results in results: windows/, recordings/, dead_letters/, summary.json")


def test_a_long_name_of_a_source_is_cut_off_in_the_table_and_in_notes(opened: Sequence[JobModel]) -> None:
    """A column of a table may hold any text; one of 3,000 characters would make each line of the table as long."""
    outcome = Outcome(files=3)
    outcome.sources = {"normal": {"z" * 3000: SourceCount(recordings=2), "y" * 60: SourceCount(recordings=1)}}
    lines = list(summary_lines(outcome, opened[1:], 0.05, OUT, seconds=0.0))
    assert max(map(len, lines)) < 400
    (shown,) = [line for line in lines if line.startswith("  zz")]
    assert shown.split()[0] == "z" * 59 + "…"
    assert any(line.startswith(f"  {'y' * 60} ") for line in lines)


def test_items_have_the_name_of_their_kind(models: Path) -> None:
    opened = [
        *open_models(JobRequest(("data",), ("normal", "digits"), models).to_settings()),
        *open_models(JobRequest(("data",), ("transfers",), models).to_settings()),
    ]
    assert [model.items for model in opened] == ["recordings", "images", "rows"]
    outcome = Outcome(files=1, windows=1, noun="rows", sources={"transfers": {"z": SourceCount(recordings=1)}})
    lines = list(summary_lines(outcome, opened[2:], 0.05, OUT, seconds=2.0))
    assert lines[:3] == [
        "1 row in 2.0 s (0.5 items/s)",
        "transfers: rows flagged at a promised false-alarm rate of 5.00%",
        "  source  rows  flagged  share  not judged",
    ]


def test_reasons_of_dead_letters_are_shown_and_the_rest_is_counted(opened: Sequence[JobModel], tmp_path: Path) -> None:
    (tmp_path / "dead_letters").mkdir()
    reasons = ["empty", "no sound\x1b", "of odd size 1", "no sound\x1b", "of odd size 2", "no sound\x1b", "empty"]
    for number, reason in enumerate(reasons):
        table = pa.table({"uri": [f"a/{number}.wav"], "message": [f"{number}.wav: {reason}"]})
        pq.write_table(table, tmp_path / "dead_letters" / f"{number}.parquet")
    lines = list(summary_lines(Outcome(files=7, dead_letters=7), opened[:1], 0.05, tmp_path, seconds=1.0))
    at = lines.index(next(line for line in lines if line.startswith("7 files could not be read: see")))
    assert lines[at + 1 : -1] == [
        "  1.wav: no sound\\x1b (and 2 more for the same reason)",
        "  0.wav: empty (and 1 more for the same reason)",
        "  2.wav: of odd size 1",
        "  and 1 more",
    ]


def test_of_many_parts_of_dead_letters_the_first_are_read(opened: Sequence[JobModel], tmp_path: Path) -> None:
    (tmp_path / "dead_letters").mkdir()
    for number in range(100):
        table = pa.table({"uri": [f"{number}.wav"], "message": [f"{number}.wav: empty"]})
        pq.write_table(table, tmp_path / "dead_letters" / f"{number:03d}.parquet")
    lines = list(summary_lines(Outcome(files=100, dead_letters=100), opened[:1], 0.05, tmp_path, seconds=1.0))
    assert lines[-3:-1] == ["  0.wav: empty (and 63 more for the same reason)", "  and 36 more"]


def test_one_thing_is_in_the_singular(opened: Sequence[JobModel]) -> None:
    text = "\n".join(summary_lines(Outcome(files=1, windows=1, dead_letters=1), opened[:1], 0.05, OUT, seconds=2.0))
    assert text.startswith("1 file, 1 window row in 2.0 s")
    assert "1 file could not be read: see results/dead_letters/*.parquet; correct it, then" in text


def test_the_summary_counts_what_is_not_as_the_models_take_it(opened: Sequence[JobModel], outcome: Outcome) -> None:
    outcome.low_rate, outcome.several_channels, outcome.padded = 1, 2, 3
    text = "\n".join(summary_lines(outcome, opened, 0.05, OUT, seconds=1.0))
    assert "1 file has a lower sample rate than a model's: nothing above half of it reaches the model" in text
    assert "2 files have several channels: each was taken by itself" in text
    assert "3 files are shorter than a model's window: filled up with zeros" in text


def test_of_tuned_models_the_summary_says_which_engine_each_ran_on(models: Path, outcome: Outcome) -> None:
    settings = JobRequest(("data",), ("kinds", "normal"), models, engine="tuned").to_settings()
    text = "\n".join(summary_lines(outcome, opened := open_models(settings), 0.05, OUT, seconds=1.0))
    assert text.count("ran on") == 2
    assert "kinds: ran on ort (--engine tuned)" in text
    summary = summarise(outcome, opened, settings, OUT, seconds=1.0)
    assert [model.engine for model in summary.models] == ["ort", "ort"]


def test_verdicts_are_metrics_of_models_with_a_calibration_alone_and_while_the_job_runs() -> None:
    metrics = BatchMetrics()
    for commit in commits():
        metrics.count(commit, {"normal": "one"})
    value = metrics.running.get_sample_value
    assert value("avizor_batch_files_total") == 4
    assert value("avizor_batch_recordings", {"model": "normal", "source": "a"}) == 3
    assert value("avizor_batch_anomalies", {"model": "normal", "source": "c"}) == 1
    assert value("avizor_batch_recordings", {"model": "kinds", "source": "a"}) is None


def test_of_too_many_sources_the_one_that_was_counted_longest_ago_has_no_series() -> None:
    metrics = BatchMetrics(most_sources=2)
    for source in ("monday", "tuesday", "monday", "wednesday"):
        sources = {"normal": {source: SourceCount(recordings=2, anomalies=1)}}
        metrics.count(next(commits()).model_copy(update={"sources": sources}), {"normal": "one"})
    lines = generate_latest(metrics.running).decode().splitlines()
    series = {line for line in lines if "source=" in line}
    assert series == {
        f'avizor_batch_{name}{{model="normal",source="{source}"}} {number}'
        for source, judged in (("monday", 4.0), ("wednesday", 2.0))
        for name, number in (
            ("recordings", judged),
            ("recordings_not_judged", 0.0),
            ("anomalies", judged / 2),
            ("drift_log_martingale", 0.0),
        )
    }


def test_a_summary_of_many_sources_shows_the_most_flagged_and_names_the_file_with_all(opened: Sequence[JobModel]) -> None:
    outcome = Outcome(files=30)
    outcome.sources = {"normal": {f"s{number:02d}": SourceCount(recordings=100, anomalies=number) for number in range(30)}}
    lines = list(summary_lines(outcome, opened[1:], 0.05, OUT, seconds=1.0))
    assert [line.split()[0] for line in lines if line.startswith("  s") and "source" not in line] == [
        f"s{number:02d}" for number in range(29, 9, -1)
    ]
    assert "  and 10 more: see results/summary.json" in lines


def test_a_run_with_nothing_to_do_has_no_rate(opened: Sequence[JobModel], outcome: Outcome) -> None:
    outcome.earlier_files = 4
    first = next(iter(summary_lines(outcome, opened, 0.05, OUT, seconds=2.0)))
    assert first == "4 files, 4 of them by earlier runs, 24 window rows"


def test_the_rate_is_that_of_this_run_alone(opened: Sequence[JobModel], outcome: Outcome, models: Path) -> None:
    outcome.earlier_files = 3
    first = next(iter(summary_lines(outcome, opened, 0.05, OUT, seconds=2.0)))
    assert first == "4 files, 3 of them by earlier runs, 24 window rows in 2.0 s (0.5 items/s)"
    opened_with = JobRequest(("data",), ("kinds", "normal"), models).to_settings()
    summary = summarise(outcome, opened, opened_with, OUT, seconds=2.0)
    assert (summary.files, summary.earlier_files, summary.items_per_second) == (4, 3, 0.5)
    assert [(model.name, model.anomalies, model.labels) for model in summary.models] == [
        ("kinds", 0, {"low": 4}),
        ("normal", 2, {}),
    ]


def test_a_name_cannot_write_into_the_terminal(opened: Sequence[JobModel]) -> None:
    outcome = Outcome(files=1)
    outcome.sources["normal"] = {"\x1b[31m\nred\u202e": SourceCount(recordings=1, anomalies=1)}
    text = "\n".join(summary_lines(outcome, opened, 0.05, OUT, seconds=1.0))
    assert "\\x1b[31m\\nred\\u202e" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


# Tallies of 60 calibration items: items, and how many are at most 0.02, 0.1 and 0.5, for larger and for smaller scores.
DRIFTS = {"up": (100, 60, 80, 100, 0, 0, 0), "down": (100, 0, 0, 0, 60, 80, 100), "fine": (100, 2, 9, 50, 1, 10, 52)}


def drifted(calibration: str) -> dict[str, dict[str, SourceCount]]:
    return {"normal": {source: SourceCount(recordings=100, drift={calibration: {60: each}}) for source, each in DRIFTS.items()}}


def test_sources_whose_scores_have_drifted_are_named_with_the_direction(opened: Sequence[JobModel]) -> None:
    (model,) = (each for each in opened if each.calibration)
    assert model.choice.calibration_id
    outcome = Outcome(files=300, windows=900)
    outcome.sources = drifted(model.choice.calibration_id)
    notes = [line for line in summary_lines(outcome, [model], 0.05, OUT, seconds=2.0) if "scores are" in line]
    assert [note.partition(" than")[0] for note in notes] == [
        "  Note: up: scores are larger",
        "  Note: down: scores are smaller",
    ]
    settings = JobRequest(("data",), ("normal",), model.version.folder.parents[1]).to_settings()
    summary = summarise(outcome, [model], settings, OUT, 2.0)
    shown = {source: count.drift for source, count in summary.models[0].sources.items()}
    assert shown["up"] == shown["down"] > 10
    assert shown["fine"] == 0


def test_evidence_against_an_earlier_calibration_is_not_held_against_the_one_of_now(
    opened: Sequence[JobModel],
) -> None:
    (model,) = (each for each in opened if each.calibration)
    outcome = Outcome(files=300, windows=900)
    outcome.sources = drifted("an earlier one")
    assert not [line for line in summary_lines(outcome, [model], 0.05, OUT, seconds=2.0) if "scores are" in line]
    settings = JobRequest(("data",), ("normal",), model.version.folder.parents[1]).to_settings()
    summary = summarise(outcome, [model], settings, OUT, 2.0)
    assert {count.drift for count in summary.models[0].sources.values()} == {0}
    assert SourceCount(drift={"a": {60: (1, 1)}}) + SourceCount(drift={"b": {60: (2, 0)}, "a": {60: (1, 0)}}) == SourceCount(
        drift={"a": {60: (2, 1)}, "b": {60: (2, 0)}}
    )


def test_the_metric_of_drift_begins_anew_with_another_calibration() -> None:
    metrics = BatchMetrics()

    def after(found_by: str, judges: str) -> list[float | None]:
        metrics.count(next(commits()).model_copy(update={"sources": drifted(found_by)}), {"normal": judges})
        labels = [{"model": "normal", "source": source} for source in DRIFTS]
        return [metrics.running.get_sample_value("avizor_batch_drift_log_martingale", each) for each in labels]

    assert after("one", judges="one") == [35, 35, 0]
    assert after("one", judges="other") == [0, 0, 0]  # a shard that was begun before
    metrics.count(next(commits()).model_copy(update={"sources": {}}), {"normal": "other"})
    assert after("other", judges="other") == [35, 35, 0]
