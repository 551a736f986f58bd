"""Run a batch job from its settings to its commits: check, claim the folder, skip what is done, run the rest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from avizor_inference.anomaly.engine_calibration import check_calibration
from avizor_inference.anomaly.p_values import require_alpha
from avizor_inference.engines.base import check_same_digest
from avizor_inference.engines.open_engine import engine_options
from avizor_inference.errors import JobError
from avizor_inference.items.file_access import path_of
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.plan import Plan
from avizor_pipeline.runners.base import Runner
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import shards
from avizor_pipeline.sinks.output_folder import claimed
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.reconstruction_files import begin_folder, end_folder
from avizor_pipeline.sources.open_source import open_source


def check_models(settings: JobSettings) -> list[JobModel]:
    """Load the job's models and return them.

    Raises AvizorError if a model cannot be loaded, if the engine serves another one, or if its calibration is too small for
    alpha, or is from an engine with other scores.
    """
    models = open_models(settings)
    with open_job_engine(settings) as engine:
        for model in models:
            check_same_digest(engine.spec(model.name, model.choice.version), model.version)
            if comparable := model.comparable:
                require_alpha(comparable.calibration, settings.alpha, settings.confidence)
                options = engine_options(settings.engine, settings.device)
                check_calibration(engine, model.version, comparable, options)
    return models


def run_job(
    settings: JobSettings,
    out: Path,
    plan: Plan,
    runner: Runner,
    on_resume: Callable[[Sequence[Commit]], None] = lambda _commits: None,
) -> Generator[Commit, None, None]:
    """Run what is not yet done. Yield the commit of every shard, those of earlier runs first.

    on_resume: is called with the commits of earlier runs before they are yielded.

    Raises AvizorError; then run again with the same settings to go on. However it ends, no worker is left. Close the generator
    to stop the job.
    """
    check_models(settings)
    with claimed(out, settings, plan.shard_ids) as finished:
        if folder := settings.reconstructions:
            begin_folder(path_of(folder))
        on_resume(finished.commits)
        yield from finished.commits
        # A shard that files were added to since the plan is not wanted: those files are for another job.
        wanted = plan.shard_ids - {commit.shard for commit in finished.commits}
        missing = set(wanted)
        remaining = (shard for shard in shards(settings, open_source(settings).list()) if shard.id in wanted)
        with closing(runner.run(remaining, settings, out)) as commits:
            for commit in commits:
                missing.discard(commit.shard)
                yield commit
        if folder:
            end_folder(path_of(folder))
    if missing:
        raise JobError(
            f"files were moved, changed or removed while the job ran: {len(missing)} of its {len(plan.shard_ids)} shards are "
            "not done; put the files back and run the same command again to go on, or choose another --out"
        )
