"""Long files: cut into sections for several workers, one row in `recordings`, one dead letter, the same bytes after a stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from integration.jobs import part_digests
from support.sounds import tone, write_long_wav, write_wav

from avizor_inference.job_tables import TABLES
from avizor_pipeline.cli.running import RunOptions, run_to_end
from avizor_pipeline.derived.wanted import WantedFiles
from avizor_pipeline.estimate import estimate
from avizor_pipeline.job import examine_job, run_job
from avizor_pipeline.job_context import open_context
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import open_models
from avizor_pipeline.plan import Plan, plan_job, plan_retry
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.base import Done
from avizor_pipeline.section_run import run_task
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.verify import verify_job


class Stopped(Exception):
    """What stops a job in a test."""


class HereRunner:
    """Processes shards in this process, with the code of a worker.

    order: of the tasks that are there at once, as if so many workers were busy. stop_after: tasks, then the job is stopped.
    lost: ids of tasks whose worker dies of the file.
    """

    workers_elsewhere = False

    def __init__(
        self,
        at_once: int = 1,
        stop_after: int | None = None,
        lost: Callable[[str], bool] = lambda task: False,
        workers: int = 1,
    ) -> None:
        self.at_once, self.stop_after, self.lost, self.workers = at_once, stop_after, lost, workers
        self.ran: list[str] = []

    def run(self, shards: Iterator[Shard], settings: JobSettings, out: OutputPath) -> Generator[Done, None, None]:
        context = open_context(settings, out)
        waiting: list[Shard] = []
        while True:
            while len(waiting) < self.at_once and (shard := next(shards, None)):
                waiting.append(shard)
            if not waiting:
                return
            shard = waiting.pop()  # the last one first
            if len(self.ran) == self.stop_after:
                raise Stopped
            lost = {entry.uri: "a worker died" for entry in shard.entries if self.lost(shard.id)}
            self.ran.append(shard.id)
            yield run_task(context, shard, lost)()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of four sections, if shards have 1 MiB, and a short one."""
    write_long_wav(tmp_path / "data" / "a" / "long.wav", seconds=50)
    write_wav(tmp_path / "data" / "a" / "short.wav", tone(1.0))
    return tmp_path / "data"


def job(data: Path, models: Path, **changes: Any) -> JobSettings:
    options = {"alpha": 0.05, "batch_size": 8, "shard_mib": 1} | changes
    return JobRequest((str(data),), ("kinds", "normal"), models, **options).to_settings()


def run(settings: JobSettings, out: Path, runner: Any = None, plan: Plan | None = None) -> list[Commit]:
    return list(run_job(settings, out, plan or plan_job(settings, out), runner or HereRunner()))


def rows(out: Path, table: str) -> list[dict[str, Any]]:
    """Return the rows in the order of the parts, for each file those of a long one by time."""
    found: list[dict[str, Any]] = []
    for part in sorted((out / table).iterdir()):
        found += pq.read_table(part).to_pylist()
    return sorted(found, key=lambda row: (row["uri"], row.get("model", "")))


def names(out: Path, table: str) -> set[str]:
    return {Path(row["uri"]).name for row in rows(out, table)}


def test_a_long_file_has_the_rows_that_it_has_uncut(data: Path, models: Path, tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    commits = run(job(data, models), cut)
    expected = run(job(data, models, shard_mib=64), whole)
    assert len(list((cut / "windows").iterdir())) == 4 + 1
    assert not (cut / "sections").exists()
    for table in ("windows", "recordings"):
        for one, other in zip(rows(cut, table), rows(whole, table), strict=True):
            assert one.keys() == other.keys()
            for name, value in one.items():
                assert value == (pytest.approx(other[name], rel=1e-4) if isinstance(value, float) else other[name])
    totals, wanted = Outcome(), Outcome()
    for commit in commits:
        totals.add(commit)
    for commit in expected:
        wanted.add(commit)
    assert (totals.files, totals.windows, totals.labels, totals.sources) == (2, wanted.windows, wanted.labels, wanted.sources)
    proof = verify_job(cut)
    assert (proof.problem_count, proof.windows, proof.recordings) == (0, totals.windows, 4)


def test_a_large_file_that_is_shorter_than_a_window_is_judged_as_a_short_one(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "a" / "short.wav"
    path.parent.mkdir(parents=True)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (70_000, 2))
    soundfile.write(path, samples, 192_000, subtype="DOUBLE")  # 0.36 s; a window has 0.51 s
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    (commit,) = run(job(tmp_path / "data", models), cut)
    (expected,) = run(job(tmp_path / "data", models, shard_mib=64), whole)
    assert [path.stem for path in (cut / "windows").iterdir()] == [f"{commit.shard}-000001"]
    assert (commit.padded, commit.sources) == (1, expected.sources)
    (found,), (wanted,) = [[row for row in rows(out, "recordings") if row["model"] == "normal"] for out in (cut, whole)]
    assert found["not_judged"] == wanted["not_judged"]
    assert "shorter than the model's window" in found["not_judged"]


def test_the_order_in_which_sections_are_done_and_stops_between_them_change_no_byte(
    data: Path, models: Path, tmp_path: Path
) -> None:
    settings = job(data, models)
    run(settings, tmp_path / "whole")
    expected = part_digests(tmp_path / "whole")
    run(settings, tmp_path / "mixed", HereRunner(at_once=3))
    assert part_digests(tmp_path / "mixed") == expected
    for stop_after in (1, 4):
        out = tmp_path / f"stop{stop_after}"
        with pytest.raises(Stopped):
            run(settings, out, HereRunner(stop_after=stop_after))
        assert verify_job(out).problem_count
        resumed = HereRunner()
        run(settings, out, resumed)
        assert len(resumed.ran) == 5 - stop_after  # what was done is not done again
        assert part_digests(out) == expected
        assert verify_job(out).problem_count == 0


def test_a_section_whose_part_was_damaged_is_done_again(data: Path, models: Path, tmp_path: Path) -> None:
    settings, out = job(data, models), tmp_path / "out"
    with pytest.raises(Stopped):
        run(settings, out, HereRunner(stop_after=3))
    part = sorted((out / "windows").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-1])
    resumed = HereRunner()
    run(settings, out, resumed)
    assert part.stem in resumed.ran
    assert len(resumed.ran) == 3
    assert verify_job(out).problem_count == 0


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_file_of_which_one_section_cannot_be_read_is_one_dead_letter_and_has_no_rows(
    data: Path, models: Path, tmp_path: Path, at_once: int
) -> None:
    settings, out = job(data, models), tmp_path / "out"
    killer = HereRunner(at_once, lost=lambda task: task.endswith(("-000001", "-000002")))
    commits = run(settings, out, killer)
    assert sum(commit.dead_letters for commit in commits) == 1
    assert not any(id.endswith("-000003") for id in killer.ran) or at_once > 2  # the rest of a dead file is not read
    assert len(rows(out, "dead_letters")) == 1
    assert [names(out, table) for table in TABLES] == [{"short.wav"}, {"short.wav"}, {"long.wav"}]
    assert verify_job(out).problem_count == 0
    assert not (out / "sections").exists()
    assert len(list((out / "windows").iterdir())) == 1

    plan = plan_retry(settings, out)
    assert plan.changes.new == 1
    run(settings, out, plan=plan)
    assert verify_job(out).problem_count == 0
    assert [names(out, table) for table in TABLES] == [{"short.wav", "long.wav"}, {"short.wav", "long.wav"}, set()]


def test_the_dead_letter_is_of_the_first_section_that_cannot_be_read_whatever_the_order(
    data: Path, models: Path, tmp_path: Path
) -> None:
    path = data / "a" / "long.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    for broken in (150_000, 250_000, 350_000):
        samples[broken] = np.nan
    soundfile.write(path, samples, rate, subtype="DOUBLE")
    settings = job(data, models)
    digests = []
    for at_once in (1, 2, 3):
        out = tmp_path / f"out{at_once}"
        run(settings, out, HereRunner(at_once))
        (letter,) = rows(out, "dead_letters")
        assert letter["offset"] < 150_000
        digests.append(part_digests(out))
    with pytest.raises(Stopped):
        run(settings, tmp_path / "stopped", HereRunner(3, stop_after=2))
    run(settings, tmp_path / "stopped")
    assert digests == [part_digests(tmp_path / "stopped")] * 3


def test_a_long_file_that_changes_while_it_is_read_is_a_dead_letter(data: Path, models: Path, tmp_path: Path) -> None:
    settings, out = job(data, models), tmp_path / "out"
    with pytest.raises(Stopped):
        run(settings, out, HereRunner(stop_after=2))
    write_long_wav(data / "a" / "long.wav", seconds=50, seed=1)
    run(settings, out)
    (letter,) = rows(out, "dead_letters")
    assert "long.wav: the file was changed since it was listed" in letter["message"]
    assert verify_job(out).problem_count == 0
    run(settings, out, plan=plan_job(settings, out, redo=True))
    assert names(out, "recordings") == {"short.wav", "long.wav"}
    assert verify_job(out).problem_count == 0


def test_progress_counts_a_long_file_in_part(data: Path, models: Path, tmp_path: Path) -> None:
    settings, out, outcome, seen = job(data, models), tmp_path / "out", Outcome(), []

    def follow(runner: HereRunner) -> None:
        def show(section: Any) -> None:
            outcome.add_section(section)
            seen.append(round(outcome.files_so_far, 2))

        for commit in run_job(settings, out, plan_job(settings, out), runner, outcome.resume, show):
            outcome.add(commit)
            seen.append(outcome.files_so_far)

    with pytest.raises(Stopped):
        follow(HereRunner(stop_after=3))
    assert seen == [0.25, 0.5, 0.75]
    outcome, seen[:] = Outcome(), []
    follow(HereRunner())
    assert seen == [1.0, 1, 2]
    assert outcome.earlier_in_part == 0.75


def test_a_dry_run_counts_a_long_file_once_and_its_sections_as_shards(data: Path, models: Path, tmp_path: Path) -> None:
    settings, out = job(data, models), tmp_path / "out"
    plan, loaded = plan_job(settings, out), open_models(settings)
    assert (plan.files, plan.tasks) == (2, 5)
    found = estimate(settings, loaded, plan, HereRunner(), 1, frozenset())
    with pytest.raises(Stopped):
        run(settings, out, HereRunner(stop_after=2))
    plan = plan_job(settings, out)
    left = estimate(settings, loaded, plan, HereRunner(), 1, examine_job(settings, out, plan).tasks)
    run(settings, out)
    windows = len(rows(out, "windows"))
    for each, shards in ((found, 5), (left, 3)):
        assert (each.files, each.items, each.windows, each.shards_left) == (2, 2, windows, shards)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert 0.6 * size < found.bytes < 1.4 * size
    assert left.bytes < found.bytes


def test_a_job_of_a_long_file_is_summed_up_once(data: Path, models: Path, tmp_path: Path, capsys: Any) -> None:
    samples, rate = soundfile.read(data / "a" / "long.wav", dtype="float32")
    soundfile.write(data / "a" / "long.wav", np.stack([3 * samples, samples], axis=1)[::2], rate // 2, subtype="DOUBLE")
    settings, out = job(data, models), tmp_path / "out"
    metrics = BatchMetrics()
    options = RunOptions(out, HereRunner(2), WantedFiles(q_values=True, tables=("raven",)), 0.0, as_json=True)
    assert run_to_end(settings, open_models(settings), plan_job(settings, out), options, metrics) == 0
    summary = capsys.readouterr().out
    for count in ('"files": 2', '"clipped": 1', '"low_rate": 1', '"several_channels": 1', '"padded": 0', '"recordings": 2'):
        assert count in summary
    (long,) = [row for row in rows(out, "recordings") if row["model"] == "normal" and row["uri"].endswith("long.wav")]
    np.testing.assert_allclose(long["clipped"], np.mean(np.abs(np.stack([3 * samples, samples])[:, ::2]) > 1))
    assert metrics.ended.get_sample_value("avizor_batch_files_total") == 2
    assert len(pq.read_table(out / "q_values.parquet")) == 2
    for path in (out / "raven").iterdir():
        numbers = [int(line.split("\t")[0]) for line in path.read_text().splitlines()[1:]]
        assert numbers == list(range(1, len(numbers) + 1))
