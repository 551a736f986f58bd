"""verify.py: what is planned is in the tables or a dead letter, once, and anything else is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from unit.pipeline.jobs import settings

from avizor_inference.errors import JobError
from avizor_pipeline.cli.verify import verify
from avizor_pipeline.plan import plan_job, planned_shards
from avizor_pipeline.projection.embeddings import finished_job
from avizor_pipeline.settings import ChosenModel, JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_folder import claimed
from avizor_pipeline.sinks.part_files import Commit, PartWriter
from avizor_pipeline.verify import verify_job

MODELS = ("kinds", "normal")
Rows = dict[str, list[dict[str, Any]]]


def rows_of(shard: Shard) -> Rows:
    """What a job writes: two windows a file and model; the last file is a dead letter."""
    *good, dead = [entry.uri for entry in shard.entries]
    return {
        "windows": [
            {"uri": uri, "model": model, "channel": 0, "start_sample": start}
            for uri in good
            for model in MODELS
            for start in (0, 4096)
        ],
        "recordings": [{"uri": uri, "model": model, "windows": 2} for uri in good for model in MODELS],
        "dead_letters": [{"uri": dead}],
    }


def commit(out: Path, shard: Shard, rows: Rows, files: int, in_group: int = 1000) -> None:
    writer = PartWriter(out, shard.id, in_group)
    for table, each in rows.items():
        for row in each:
            writer.add(table, row)
    counts = writer.counts
    writer.commit(
        Commit(
            shard=shard.id, files=files, windows=counts["windows"], dead_letters=counts["dead_letters"], rows=counts,
            sha256=writer.finish(), labels={}, sources={},
        )
    )  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> tuple[JobSettings, Path, Shard]:
    """A job of three files and two models, whose round is planned."""
    for number in range(3):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{number}.wav").touch()
    models = tuple(ChosenModel(name=name, version=1, sha256="") for name in MODELS)
    job, out = settings(tmp_path / "data").model_copy(update={"models": models}), tmp_path / "out"
    plan = plan_job(job, out)
    with claimed(out, job, plan.for_folder):
        (shard,) = planned_shards(job, out, plan)
    return job, out, shard


@pytest.mark.parametrize("in_group", [3, 1000])
def test_a_complete_job_is_proven(job: tuple[JobSettings, Path, Shard], in_group: int) -> None:
    """Also if its parts have row groups with other files in each."""
    _, out, shard = job
    commit(out, shard, rows_of(shard), 3, in_group)
    (out / "summary.json").touch()
    result = CliRunner().invoke(verify, [str(out)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "6 results planned (files x models): 4 in recordings/, 2 missing for 1 dead letter" in result.stdout
    proof = json.loads(CliRunner().invoke(verify, [str(out), "--json"]).stdout)
    assert proof == {
        "out": str(out), "files": 3, "noun": "files", "planned": 6, "recordings": 4, "unread": 2, "windows": 8,
        "dead_letters": 1, "parts": 3, "undone": 0, "first_undone": "", "problem_count": 0, "problems": [],
    }  # fmt: skip


def test_a_job_that_was_stopped_before_its_summary_is_not_complete_as_other_commands_say(
    job: tuple[JobSettings, Path, Shard],
) -> None:
    _, out, shard = job
    commit(out, shard, rows_of(shard), 3)
    result = CliRunner().invoke(verify, [str(out)])
    assert result.exit_code == 1
    assert f"wrong: {out}/summary.json is missing: the job was stopped before its end; run the same" in result.stderr
    assert "complete:" not in result.stdout
    with pytest.raises(JobError, match="is not finished"), finished_job(out):
        pass


def lose_a_recording(rows: Rows) -> None:
    rows["recordings"].pop()


def double_a_recording(rows: Rows) -> None:
    rows["recordings"].append(rows["recordings"][0])


def lose_a_window(rows: Rows) -> None:
    rows["windows"].pop()


def double_a_window(rows: Rows) -> None:
    rows["windows"][1] = rows["windows"][0]


def lose_the_dead_letter(rows: Rows) -> None:
    rows["dead_letters"].clear()


def dead_and_alive(rows: Rows) -> None:
    rows["dead_letters"].append({"uri": rows["recordings"][0]["uri"]})


def of_another_file(rows: Rows) -> None:
    rows["recordings"].append({"uri": "made-up.wav", "model": "kinds", "windows": 2})


@pytest.mark.parametrize(
    ("break_rows", "says"),
    [
        (
            lose_a_recording,
            ["1.wav has neither a row of normal in recordings/ nor a", "2 rows of normal in windows"],
        ),
        (double_a_recording, ["recordings/ has a row twice"]),
        (lose_a_window, ["1.wav has 1 row of normal in windows/, and 2 by recordings/"]),
        (double_a_window, ["windows/ has a row twice"]),
        (lose_the_dead_letter, ["2.wav has neither a row of kinds", "2.wav has neither a row of normal"]),
        (dead_and_alive, ["0.wav has a row of kinds in recordings/, and is a dead letter", "0.wav has a row of normal"]),
        (of_another_file, ["made-up.wav has a row of kinds in recordings/, and is not planned", "made-up.wav has 0 rows"]),
    ],
)
def test_rows_that_are_lost_doubled_or_strange_are_said(
    job: tuple[JobSettings, Path, Shard], break_rows: Callable[[Rows], None], says: Sequence[str]
) -> None:
    _, out, shard = job
    rows = rows_of(shard)
    break_rows(rows)
    commit(out, shard, rows, 3)
    proof = verify_job(out)
    assert len(proof.problems) == proof.problem_count == len(says), proof.problems
    for expected, problem in zip(says, proof.problems, strict=True):
        assert expected in problem
    assert CliRunner().invoke(verify, [str(out)]).exit_code == 1


def test_shards_that_are_not_done_damaged_or_strange_are_said(job: tuple[JobSettings, Path, Shard]) -> None:
    _, out, shard = job
    assert verify_job(out).problems == [
        f"shard {shard.id} (3 files, the first is {shard.entries[0].uri}) is not done; run the same command again"
    ]
    commit(out, shard, rows_of(shard), 2)
    assert ["its record is of 2 files, and 3 are planned" in each for each in verify_job(out).problems] == [True]
    part = out / "windows" / f"{shard.id}.parquet"
    (out / "windows" / "copy.parquet").write_bytes(part.read_bytes())
    part.write_bytes(part.read_bytes()[:-1])
    damaged, stray = verify_job(out).problems
    assert f"{part} is not what was written" in damaged
    assert "copy.parquet is of no finished shard" in stray


def test_a_stopped_job_says_how_many_results_are_not_there_yet(job: tuple[JobSettings, Path, Shard]) -> None:
    """Six are planned and no dead letter is written: "0 missing" alone would say that none is."""
    _, out, _ = job
    result = CliRunner().invoke(verify, [str(out)])
    assert "6 results planned (files x models): 0 in recordings/, 0 missing for 0 dead letters, 6 neither in" in result.stdout


def test_what_was_found_is_counted_in_the_items_of_the_job(tmp_path: Path) -> None:
    """A table of two rows is two rows, not two files; one of a kind is one file."""
    for name, kind, counted, planned, undone in (
        (
            "rows.csv",
            "row",
            "2 rows, 0 rows in windows/",
            "2 results planned (rows x models)",
            " (2 rows, the first is /",
        ),
        ("one.wav", "audio", "1 file, 0 rows in windows/", "1 result planned (files x models)", ".wav) is not done;"),
    ):
        out = begun(tmp_path / kind, name, kind, "a,b\n1,2\n3,4\n")
        result = CliRunner().invoke(verify, [str(out)])
        assert f"{counted}, 0 parts that are what was written\n{planned}" in result.stdout
        assert undone in result.stderr
        assert result.stderr.endswith(") is not done; run the same command again\n")


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nowhere does not exist; give the --out of avizor batch"):
        verify_job(tmp_path / "nowhere")
    with pytest.raises(JobError, match="nowhere does not exist; give"), finished_job(tmp_path / "nowhere"):
        pass


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="holds no batch job of this version of Avizor; give the --out of avizor batch"):
        verify_job(tmp_path)


def test_shards_that_are_not_done_are_one_problem_however_many(tmp_path: Path) -> None:
    out = begun(tmp_path, "rows.csv", "row", "a,b\n" + "1,2\n" * 10_000)
    proof = verify_job(out)
    (problem,) = proof.problems
    assert (proof.undone, proof.problem_count) == (3, 1)
    assert problem.startswith("3 shards are not done, the first is ")
    assert " (4096 rows, the first is " in problem
    assert problem.endswith("; run the same command again")


def begun(folder: Path, name: str, kind: str, content: str) -> Path:
    """Begin a job over one file, and end it before anything is done."""
    data, out = folder / "data", folder / "out"
    data.mkdir(parents=True)
    (data / name).write_text(content)
    model = ChosenModel(name="normal", version=1, sha256="")
    job = settings(data).model_copy(update={"models": (model,), "contents": (kind,)})
    plan = plan_job(job, out)
    with claimed(out, job, plan.for_folder):
        pass
    return out
