"""sinks/output_folder.py: which folders a job can use, and what it does with existing files in its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.object_stores import S3
from unit.pipeline.jobs import settings, write_shard

from avizor_inference.errors import AvizorError, JobError, SettingsError, StoreUnavailable
from avizor_inference.items.object_path import ObjectPath
from avizor_inference.job_tables import TABLES
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import output_path
from avizor_pipeline.sinks.output_folder import Planned, claimed, examine
from avizor_pipeline.sinks.outside_datasets import check_outside

SHARD, OTHER = "0123456789abcdef", "fedcba9876543210"


def claim(out: Path, job: JobSettings) -> None:
    """Claim as a run does and examine as a dry run does; both refuse alike."""
    refusals = []
    for check in (lambda: examine(out, job, Planned({}, 0)), lambda: claimed(out, job, Planned({}, 0)).__enter__()):
        try:
            check()
            refusals.append("")
        except AvizorError as error:
            refusals.append(f"{type(error).__name__}: {error}")
    assert refusals[0] == refusals[1]
    if refusals[0]:
        raise SettingsError(refusals[0])


def test_an_output_folder_belongs_to_one_job(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job = settings(tmp_path / "data")
    claim(tmp_path / "out", job)
    claim(tmp_path / "out", job)
    with pytest.raises(SettingsError, match=r"a job with other --alpha \(0.01\); choose another --out"):
        claim(tmp_path / "out", settings(tmp_path / "data", alpha=0.5))
    with pytest.raises(SettingsError, match=r"; `avizor report .*/out --alpha 0.5` shows what it flags in that job$"):
        claim(tmp_path / "out", settings(tmp_path / "data", alpha=0.5))
    with pytest.raises(SettingsError, match=r"or remove it to start again$"):
        claim(tmp_path / "out", settings(tmp_path / "data", alpha=0.5, top_k=2))
    with pytest.raises(SettingsError, match=r"or remove it to start again$"):
        claim(tmp_path / "out", settings(tmp_path / "data", alpha=0.5, confidence=0.9))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="is not empty"):
        claim(tmp_path / "mine", job)
    (tmp_path / "out" / "job.json").write_text(json.dumps({"rows_format": 2, "roots": 3}))
    with pytest.raises(SettingsError, match="cannot be read"):
        claim(tmp_path / "out", job)


def test_only_more_files_that_a_shell_may_have_named_are_refused_with_what_to_quote(tmp_path: Path) -> None:
    def job(*names: str) -> JobSettings:
        for name in names:
            path = tmp_path / name
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
        return settings(*map(Path, names), places=tuple(str(tmp_path / name) for name in names))

    claim(tmp_path / "files", job("0.wav", "1.wav"))
    claim(tmp_path / "folders", job("a", "b"))
    other = r"holds a job with other datasets \(other ones\); choose"
    quote = "a pattern that the shell resolves names each file"
    with pytest.raises(SettingsError, match=rf"{other}.*{quote}: quote it"):
        claim(tmp_path / "files", job("0.wav", "1.wav", "2.wav"))
    (tmp_path / "0.wav").unlink()
    with pytest.raises(SettingsError, match=quote):
        claim(tmp_path / "files", job("1.wav", "2.wav"))
    for out, names in ("folders", ("a", "c")), ("folders", ("a", "2.wav")), ("files", ("a", "b")):
        with pytest.raises(SettingsError, match=rf"{other} another --out, or remove it to start again$"):
            claim(tmp_path / out, job(*names))


def test_models_of_another_folder_are_refused_with_where_to_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job = settings(tmp_path / "data")
    claim(tmp_path / "out", job)
    with pytest.raises(SettingsError, match=r"\(models\); run the command in the folder in which the job began, or choose"):
        claim(tmp_path / "out", job.model_copy(update={"repository": "other/models"}))
    claim(tmp_path / "absolute", job.model_copy(update={"repository": "/models"}))
    with pytest.raises(SettingsError, match=r"other --models \(/models\); choose another --out"):
        claim(tmp_path / "absolute", job.model_copy(update={"repository": "/other/models"}))


def test_a_job_file_that_the_disk_lost_is_written_anew_only_where_nothing_else_lies(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job = settings(tmp_path / "data")
    claim(tmp_path / "out", job)
    (tmp_path / "out" / "job.json").write_bytes(b"")
    claim(tmp_path / "out", job)
    assert JobSettings.model_validate_json((tmp_path / "out" / "job.json").read_bytes()) == job
    (tmp_path / "out" / "job.json").write_bytes(bytes(100))
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="cannot be read"):
        claim(tmp_path / "out", job)


def test_what_a_job_leaves_that_was_killed_as_it_began_is_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "job.lock").touch()
    (tmp_path / "out" / ".job.json.0123abcd.tmp").write_text("{")
    claim(tmp_path / "out", settings(tmp_path / "data"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"job.json", "job.lock", *TABLES}


def test_folders_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    job = settings(tmp_path / "data")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, message in (
        (tmp_path / "file", "file is not a folder; choose another --out"),
        (tmp_path / "file" / "below", "file is not a folder; choose another --out"),
        (tmp_path / "link", "link is not a folder"),
        (tmp_path / ("x" * 300), "cannot be written .file name too long.; choose another --out"),
        (Path("/proc/x"), "/proc/x cannot be written .no such file or directory.; choose another --out"),
    ):
        with pytest.raises(SettingsError, match=message):
            claim(out, job)


def test_shards_that_are_intact_are_finished_and_damaged_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job, out = settings(tmp_path / "data"), tmp_path / "out"
    claim(out, job)
    intact = write_shard(out, SHARD)
    write_shard(out, OTHER)
    part = out / "windows" / f"{OTHER}.parquet"
    os.truncate(part, part.stat().st_size // 2)
    planned = Planned({SHARD: 1, OTHER: 1}, 0)
    finished = examine(out, job, planned)
    assert (finished.shards, finished.files) == ([intact.shard], 1)
    assert finished.damage == {OTHER: f"{part} is not what was written"}
    with claimed(out, job, planned):
        assert sorted(path.stem for path in (out / "commits").iterdir()) == [SHARD]
        assert sorted(path.stem for path in (out / "windows").iterdir()) == [SHARD]


def test_rows_without_a_commit_are_removed_and_foreign_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    out = tmp_path / "out"
    claim(out, settings(tmp_path / "data"))
    left = [f"{SHARD}.parquet", f".{OTHER}.parquet.0123.tmp", "notes.txt"]
    for name in left:
        (out / "windows" / name).write_text("x")
    claim(out, settings(tmp_path / "data"))
    assert [path.name for path in (out / "windows").iterdir()] == ["notes.txt"]


def test_a_finished_shard_of_no_round_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    out = tmp_path / "out"
    claim(out, settings(tmp_path / "data"))
    write_shard(out, SHARD)
    with pytest.raises(JobError, match=rf"{SHARD}.json is of no round of the job in .*; remove it, or choose another --out"):
        examine(out, settings(tmp_path / "data"), Planned({OTHER: 1}, 0))


def test_a_shard_that_lost_a_file_to_a_later_round_is_done_again_without_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    job, out = settings(tmp_path / "data"), tmp_path / "out"
    claim(out, job)
    write_shard(out, SHARD)
    for rest in (0, 2):
        assert examine(out, job, Planned({SHARD: rest}, 0)).outdated == [SHARD]
    with claimed(out, job, Planned({SHARD: 0}, 0)):
        assert not list((out / "commits").iterdir())
        assert not list((out / "windows").iterdir())


def test_results_are_not_within_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    for inside in (tmp_path / "data", tmp_path / "data" / "sub" / "results"):
        with pytest.raises(SettingsError, match=r"--out .* is within .*data: the next run would read its results"):
            check_outside("--out", inside, [str(tmp_path / "data")])
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "away").symlink_to(tmp_path / "elsewhere")
    for root, out in (("alias", "data/out"), ("data", "alias/out"), ("data", "x/../data/out"), ("data", "data/away")):
        with pytest.raises(SettingsError, match="the next run would read its results"):
            check_outside("--out", tmp_path / out, [str(tmp_path / root)])
    check_outside("--out", tmp_path / "data-results", [str(tmp_path / "data"), "-", str(tmp_path / "data" / "*.wav")])
    check_outside("--out", output_path("s3://b/data-results"), ["s3://b/data", str(tmp_path)])
    with pytest.raises(SettingsError, match="is within s3://b/data: the next run"):
        check_outside("--out", output_path("s3://b/data/results"), ["s3://b/data"])


def test_what_a_store_refuses_to_list_is_told_of(s3: S3, tmp_path: Path) -> None:
    out, job = ObjectPath.parse(s3.url("run")), settings(tmp_path)
    s3.fault = lambda environ: ("403 Forbidden", b"") if "commits" in environ["QUERY_STRING"] else None
    with pytest.raises(JobError, match=r"run cannot be read \(the store"):
        examine(out, job, Planned({}, 0))
    with pytest.raises(JobError, match=r"run cannot be read \(the store"):
        claimed(out, job, Planned({}, 0)).__enter__()


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OSError("away"), JobError("away")])
def test_a_job_that_a_store_has_ended_does_not_wait_for_it_to_clear_up(error: Exception, s3: S3, tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    with pytest.raises(type(error), match="away"):
        _end_with(error, ObjectPath.parse(s3.url("run")), s3, settings(tmp_path))
    assert {path for method, path, _ in s3.requests if method == "GET"} == {"/recordings/run/job.lock"}


def _end_with(error: Exception, out: ObjectPath, s3: S3, job: JobSettings) -> None:
    with claimed(out, job, Planned({}, 0)):
        s3.requests.clear()
        raise error
