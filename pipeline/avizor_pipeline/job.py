"""A batch job from its settings to its outcome: claim the folder, plan, skip what is done, run, add up."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

from avizor_inference.anomaly.judge import require_alpha
from avizor_inference.errors import JobError, VersionRefused
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.outcome import Outcome, pooled_sources
from avizor_pipeline.plan import Plan
from avizor_pipeline.runners.local import run_shards
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shards import Shard, shards
from avizor_pipeline.sinks.output import claimed
from avizor_pipeline.sinks.parts import Commit


def check_models(settings: JobSettings) -> list[JobModel]:
    """Open the job's models. Raises AvizorError where one cannot be loaded, is another one, or cannot judge at this alpha."""
    models = open_models(settings)
    with open_job_engine(settings) as engine:
        for model in models:
            served = engine.spec(model.name, model.choice.version).sha256
            if served not in ("", model.choice.sha256):
                raise VersionRefused(
                    f"{settings.engine} serves another {model.name!r} (sha256 {served[:12]}...) than {settings.repository} "
                    f"holds ({model.choice.sha256[:12]}...); reload it there, or name the repository it serves"
                )
            if model.calibration:
                require_alpha(model.calibration, settings.alpha)
    return models


def run_job(settings: JobSettings, out: Path, planned: Plan, workers: int, on_commit: Callable[[Commit], None]) -> Outcome:
    """Run what is not yet done. `on_commit` is called for each shard, those of an earlier run included.

    Raises AvizorError; then run again with the same settings to go on. However it ends, no worker is left.
    """
    models = check_models(settings)
    outcome = Outcome(left_out=planned.left_out)
    with (
        claimed(out, settings, planned.shard_ids) as finished,
        closing(_each_commit(settings, out, planned, finished.commits, workers)) as commits,
    ):
        left = set(planned.shard_ids)
        for commit in commits:
            outcome.add(commit)
            on_commit(commit)
            left.discard(commit.shard)
    if left:
        raise JobError(
            f"files were moved, changed or removed while the job ran: {len(left)} of its {len(planned.shard_ids)} shards are "
            "not done; put the files back and run the same command again to go on, or choose another --out"
        )
    for model in models:
        if model.calibration:
            outcome.pooled[model.name] = pooled_sources(model.calibration, outcome.sources[model.name], settings.alpha)
    return outcome


def _each_commit(
    settings: JobSettings, out: Path, planned: Plan, done: list[Commit], workers: int
) -> Generator[Commit, None, None]:
    yield from done
    # Not a shard that files were added to since: they are for another job, and what is lacking is told at the end.
    wanted = planned.shard_ids - {commit.shard for commit in done}
    left: Iterator[Shard] = (shard for shard in shards(settings) if shard.id in wanted)
    yield from run_shards(settings, out, left, workers)
