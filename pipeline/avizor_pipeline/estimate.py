"""Estimate what a job would come to, for a dry run: rows by the headers of the files, bytes and time by running some shards.

Of shards that are finished, what their records say counts, and their files are not looked at: they may be gone.

The shards of the sample are run as those of a job, by the same workers, into a temporary folder that is then removed. They are
spread evenly over what is left of the job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.object_files import check_store
from avizor_inference.strict_json import Strict
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import JobModel, content_of
from avizor_pipeline.plan import Plan, shards_to_come
from avizor_pipeline.runners.base import Done, Runner
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_folder import Planned, claimed
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.reconstruction_files import begin_folder
from avizor_pipeline.sources.base import Source
from avizor_pipeline.sources.open_source import open_source

# Shards in the sample for each worker: the first ones show how long the start takes, the others how fast it goes on.
SHARDS_PER_WORKER = 3

# Seconds after which no other shard of the sample is begun.
SAMPLE_S = 20.0


class Estimate(Strict):
    """Holds what a job would come to. Rows are those of the table `windows`."""

    files: int = 0
    items: int = Field(default=0, description="items that a model takes; files whose headers cannot be read are left out")
    windows: int = Field(default=0, description="rows, by the headers of the files, or the records of finished shards")
    unknown: int = Field(default=0, description="files whose headers do not tell their rows")
    unreadable: int = Field(default=0, description="files whose headers cannot be read: dead letters")
    finished_items: int = Field(default=0, description="of `items`, those of finished shards")
    finished_dead_letters: int = Field(default=0, description="of `files`, those that are dead letters of finished shards")
    more_windows: int = Field(default=0, description="rows of the `unknown` files, by the sample")
    shards_left: int = Field(default=0, description="shards that are not finished; bytes and seconds are of these")
    shards_run: int = Field(default=0, description="shards in the sample")
    bytes: int = Field(default=0, description="of the output")
    seconds: float = Field(default=0.0, description="of the run, as in its summary")
    clipped: int = Field(default=0, description="of the sample, as all below: files with samples beyond full scale")
    peak: float = Field(default=0.0, description="largest magnitude in them")
    low_rate: int = Field(default=0, description="files of a lower sample rate than a model's")
    several_channels: int = Field(default=0, description="files of several channels, for models that take one at a time")
    padded: int = Field(default=0, description="files shorter than a model's window, filled up with zeros")


@dataclass
class _Count:
    """Counts files of shards. told: rows by headers."""

    files: int = 0
    items: int = 0
    told: int = 0
    unknown: int = 0
    unreadable: int = 0

    def add(self, other: _Count, share: float = 1.0) -> None:
        """Add other files. share: of each that counts, as a long file may be done in part."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + round(share * getattr(other, each.name)))


@dataclass(frozen=True)
class _Sample:
    """Holds what a sample came to.

    ends: for each shard its end, in seconds from the start, and its work, as `_work` counts. closed: seconds after the last
    end, in which the workers ended. met: totals of the shards that were done as a whole.
    """

    shards: int
    files: float
    bytes: int
    ends: Sequence[tuple[float, int]]
    closed: float
    met: Outcome

    @property
    def work(self) -> int:
        return sum(work for _, work in self.ends)


def estimate(
    settings: JobSettings,
    models: Sequence[JobModel],
    plan: Plan,
    runner: Runner,
    workers: int,
    finished: frozenset[str],
    checked_s: float = 0.0,
    commits: Iterable[Commit] = (),
) -> Estimate:
    """Count the rows of a job, and estimate what is left of it.

    finished: ids of its shards that are done. checked_s: seconds that the checks took, with which a run begins as well.
    commits: of finished shards, in place of their files.

    Raises what a run does.
    """
    source, whole, left, done, ids = open_source(settings), _Count(), _Count(), _Count(), []
    of_shard = {commit.shard: _Count(commit.files, commit.files - commit.dead_letters, commit.windows) for commit in commits}
    for shard in shards_to_come(settings, plan):
        if shard.entries and shard.id in of_shard:
            done.add(of_shard[shard.id])
            continue
        tasks = [task.id for task in shard.tasks() if shard.entries]
        to_do = [id for id in tasks if id not in finished and shard.id not in finished]
        ids += to_do
        source.expect([entry for entry in shard.entries if not source.is_one_row(entry)])
        for entry in shard.entries:
            added = _counted(entry, source, models)
            whole.add(added)
            left.add(added, len(to_do) / len(tasks))
    whole.add(done)
    found = Estimate(
        files=whole.files, items=whole.items, windows=whole.told, unknown=whole.unknown, unreadable=whole.unreadable,
        finished_items=done.items, finished_dead_letters=done.files - done.items, shards_left=len(ids),
    )  # fmt: skip
    if not ids:
        return found
    sample = _run_sample(settings, plan, runner, spread(ids, SHARDS_PER_WORKER * workers))
    per_file = sample.work / (sample.files or 1)
    work = max(1.0, left.told + left.unreadable + left.unknown * per_file)
    share = 1.0 if sample.shards == len(ids) else work / max(1, sample.work)
    return found.model_copy(
        update={
            "more_windows": round(whole.unknown * per_file),
            "shards_run": sample.shards,
            "bytes": round(sample.bytes * share) + _size(plan),
            **{name: getattr(sample.met, name) for name in ("clipped", "peak", "low_rate", "several_channels", "padded")},
            "seconds": round(checked_s + sample.closed + _seconds(sample.ends, work, workers, is_whole=share == 1.0), 1),
        }
    )


def spread(ids: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the ids, as far from each other as their number allows, in their order."""
    count = min(most, len(ids))
    return [ids[number * len(ids) // count] for number in range(count)]


def _counted(entry: Entry, source: Source, models: Sequence[JobModel]) -> _Count:
    if source.is_one_row(entry):
        takers = [model for model in models if content_of(model.spec).name in source.kinds(entry)]
        return _Count(files=1, items=bool(takers), told=len(takers))
    count, taken, dead = _Count(), set(), set()
    try:
        for item, content in source.open(entry):
            try:
                rows = [content.count_rows(model.spec) for model in models if model.takes(content)]
            except (MediaError, InvalidInput):
                check_store()
                dead.add(item.uri)
                continue
            if rows:
                taken.add(item.uri)
            count.told += sum(row for row in rows if row is not None)
            count.unknown += None in rows
    except (MediaError, InvalidInput):  # the file, or the rest of it
        check_store()
        count.unreadable += entry.items - len(taken | dead)
    count.files += entry.items
    count.items += len(taken - dead)
    count.unreadable += len(dead)
    return count


def _run_sample(settings: JobSettings, plan: Plan, runner: Runner, wanted: Sequence[str]) -> _Sample:
    sample = [task for shard in shards_to_come(settings, plan) for task in shard.tasks() if task.id in wanted]
    planned = Planned({shard.id: shard.items for shard in sample}, rounds=0)
    with TemporaryDirectory() as folder:
        out, reconstructions = Path(folder) / "out", Path(folder) / "reconstructions"
        if settings.reconstructions:
            settings = settings.model_copy(update={"reconstructions": str(reconstructions)})
            begin_folder(reconstructions)
        started = time.monotonic()
        with claimed(out, settings, planned), closing(runner.run(_begun_in_time(sample), settings, out)) as commits:
            done = [(time.monotonic() - started, commit) for commit in commits]
            written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        closed = time.monotonic() - started - done[-1][0]
    files, met = sum(commit.files for _, commit in done), Outcome()
    for _, commit in done:
        if isinstance(commit, Commit):
            met.add(commit)
    return _Sample(len(done), files, written, [(end, _work(commit)) for end, commit in done], closed, met)


def _size(plan: Plan) -> int:
    """Return the size of the round that would be added."""
    return plan.new.seek(0, os.SEEK_END) if plan.new else 0


def _begun_in_time(sample: Sequence[Shard]) -> Iterator[Shard]:
    deadline = time.monotonic() + SAMPLE_S
    for shard in sample:
        if time.monotonic() > deadline:
            return
        yield shard


def _work(commit: Done) -> int:
    return commit.windows + commit.dead_letters


def _seconds(ends: Sequence[tuple[float, int]], work: float, workers: int, *, is_whole: bool) -> float:
    """Return the time of a job from the ends of its sample: the start, then the rate after the first shard of each worker."""
    last, _ = ends[-1]
    if is_whole:
        return last
    sampled, begun, begun_work = sum(work for _, work in ends), ends[:workers][-1][0], sum(work for _, work in ends[:workers])
    later = sampled - begun_work
    if not later or last <= begun:
        return last * work / max(1, sampled)
    rate = later / (last - begun)
    return max(0.0, begun - begun_work / rate) + work / rate
