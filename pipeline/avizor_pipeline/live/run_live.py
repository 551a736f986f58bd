"""Run a job over folders into which files keep arriving: first what earlier runs have left, then each round as it comes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, takewhile

from avizor_inference.items.file_access import path_of
from avizor_pipeline.live.live_rounds import LiveRounds
from avizor_pipeline.models import JobModel
from avizor_pipeline.plan import Plan, planned_shards
from avizor_pipeline.runners.local import LocalRunner
from avizor_pipeline.section_join import SectionJoin
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.output_folder import Finished, claimed, commits_of
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.reconstruction_files import begin_folder, end_folder


def run_live(
    settings: JobSettings,
    out: OutputPath,
    plan: Plan,
    models: list[JobModel],
    runner: LocalRunner,
    rounds: LiveRounds,
    on_resume: Callable[[Finished], None],
) -> Generator[Commit, None, None]:
    """Yield the commit of every shard, those of earlier runs first, until `rounds` ends; workers stay all the time.

    plan: of the rounds that are there, without a new one. on_resume: see `run_job`. When the job is asked to stop, what workers
    have begun is done, and the rest is left to the next run. Raises AvizorError; then run again to go on.
    """
    with claimed(out, settings, plan.for_folder) as finished:
        if folder := settings.reconstructions:
            begin_folder(path_of(folder))
        on_resume(finished)
        yield from commits_of(out, finished.shards)
        join, done = SectionJoin(out, settings, models, finished.sections), set(finished.shards)
        for commit in join.complete(planned_shards(settings, out, plan)):
            done.add(commit.shard)
            yield commit
        left = (shard for shard in planned_shards(settings, out, plan) if shard.entries and shard.id not in done)
        to_do = chain(takewhile(lambda _: not rounds.stop, left), rounds.shards(finished.still_held))
        with closing(runner.run(_tasks(to_do, join), settings, out)) as results:
            for result in results:
                finished.still_held()
                yield from join.take(result)
        if folder:
            end_folder(path_of(folder))


def _tasks(shards: Iterator[Shard | None], join: SectionJoin) -> Iterator[Shard | None]:
    """Yield what is left of each shard; None where there is nothing for now."""
    for shard in shards:
        if shard is None:
            yield None
        else:
            yield from join.tasks(shard)
