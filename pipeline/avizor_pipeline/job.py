"""Run a batch job from its settings to its commits: check, claim the folder, skip what is done, run the rest."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from avizor_inference.errors import StoreUnavailable
from avizor_inference.items.file_access import path_of
from avizor_pipeline.checked_models import checked_models
from avizor_pipeline.plan import Plan, planned_shards
from avizor_pipeline.runners.base import Runner
from avizor_pipeline.section_join import SectionJoin
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.output_folder import Finished, claimed, commits_of, examine
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.reconstruction_files import begin_folder, end_folder
from avizor_pipeline.sinks.section_files import SectionRecord


def examine_job(settings: JobSettings, out: OutputPath, plan: Plan) -> Finished:
    """Make the checks of `run_job` in the output folder without changing anything. Raises SettingsError, JobError."""
    return examine(out, settings, plan.for_folder)


def run_job(
    settings: JobSettings,
    out: OutputPath,
    plan: Plan,
    runner: Runner,
    on_resume: Callable[[Finished], None] = lambda _finished: None,
    on_section: Callable[[SectionRecord], None] = lambda _section: None,
) -> Generator[Commit, None, None]:
    """Run what is not yet done. Yield the commit of every shard, those of earlier runs first.

    plan: made with this output folder. on_resume: is called with what earlier runs have finished before that is yielded.
    on_section: is called with each section of a long file that is done; the file's commit comes after its last.

    Raises AvizorError; then run again with the same settings to go on. However it ends, no worker is left. Close the generator
    to stop the job.
    """
    models = checked_models(settings)
    with claimed(out, settings, plan.for_folder, workers_elsewhere=runner.workers_elsewhere) as finished:
        if folder := settings.reconstructions:
            begin_folder(path_of(folder))
        on_resume(finished)
        yield from commits_of(out, finished.shards)
        join, done = SectionJoin(out, settings, models, finished.sections, on_section), set(finished.shards)
        for commit in join.complete(planned_shards(settings, out, plan)):
            done.add(commit.shard)
            yield commit
        remaining = (shard for shard in planned_shards(settings, out, plan) if shard.entries and shard.id not in done)
        tasks = (task for shard in remaining for task in join.tasks(shard))
        try:
            with closing(runner.run(tasks, settings, out)) as results:
                for result in results:
                    finished.still_held()
                    yield from join.take(result)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}; finished shards are kept: run the same command again to go on") from error
        if folder:
            end_folder(path_of(folder))
