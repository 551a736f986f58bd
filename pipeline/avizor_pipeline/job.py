"""A batch job from its settings to its outcome: claim the folder, plan, skip what is done, run, add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from avizor_inference.anomaly.judge import require_alpha, under_calibrated
from avizor_inference.engines.base import check_same_digest
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.files import LeftOut
from avizor_inference.items.sources import DEFAULT_SOURCE
from avizor_inference.repository.calibration import Calibration
from avizor_pipeline.models import JobModel, open_job_engine, open_models
from avizor_pipeline.plan import Shard, shards
from avizor_pipeline.runners.local import run_shards
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output import claimed
from avizor_pipeline.sinks.parts import Commit, SourceCount


@dataclass(frozen=True)
class Plan:
    """What there is to do, counted without keeping it."""

    files: int
    bytes: int
    shard_ids: frozenset[str]
    left_out: LeftOut = field(default_factory=LeftOut)  # files that are not read
    sources: Counter[str] = field(default_factory=Counter)  # files of each


@dataclass
class Outcome:
    """What a job came to, over all of its shards."""

    files: int = 0
    windows: int = 0
    dead_letters: int = 0
    clipped: int = 0  # files with samples beyond full scale
    peak: float = 0.0  # largest magnitude in them
    left_out: LeftOut = field(default_factory=LeftOut)
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # model -> label -> recordings
    sources: dict[str, dict[str, SourceCount]] = field(default_factory=dict)  # model -> source -> counts
    # model with a calibration -> source judged by all sources together -> recordings of its own there, 0 if never calibrated
    pooled: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, commit: Commit) -> None:
        """Count one shard."""
        self.files += commit.files
        self.windows += commit.windows
        self.dead_letters += commit.dead_letters
        self.clipped += commit.clipped
        self.peak = max(self.peak, commit.peak)
        for model, labels in commit.labels.items():
            self.labels.setdefault(model, Counter()).update(labels)
        for model, sources in commit.sources.items():
            counted = self.sources.setdefault(model, {})
            for source, count in sources.items():
                counted[source] = counted.get(source, SourceCount()) + count


def plan(settings: JobSettings) -> Plan:
    """Count the files and shards. Raises JobError if there are none, SettingsError if a source pattern matches none."""
    files, size, ids, left_out, sources = 0, 0, set(), LeftOut(), Counter[str]()
    for shard in shards(settings, left_out):
        files += len(shard.recordings)
        sources.update(recording.source for recording in shard.recordings)
        size += sum(recording.size for recording in shard.recordings)
        ids.add(shard.id)
    if not files:
        found = f"; left out: {left_out}" if left_out.counts else ""
        raise JobError(f"no audio files in {', '.join(settings.roots)}{found}")
    if settings.source_pattern and set(sources) == {DEFAULT_SOURCE}:
        raise SettingsError(
            f"--source-pattern {settings.source_pattern!r} matches none of the {files} files; it is searched in their paths "
            f"below {', '.join(settings.roots)}"
        )
    return Plan(files, size, frozenset(ids), left_out, sources)


def check_models(settings: JobSettings) -> list[JobModel]:
    """Open the job's models. Raises AvizorError where one cannot be loaded, is another one, or cannot judge at this alpha."""
    models = open_models(settings)
    with open_job_engine(settings) as engine:
        for model in models:
            check_same_digest(engine.spec(model.name, model.choice.version), model.version)
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


def pooled_sources(calibration: Calibration, sources: Mapping[str, SourceCount], alpha: float) -> dict[str, int]:
    """Sources of the job whose own recordings cannot support alpha, with their number."""
    whole = [source for source, count in sources.items() if count.recordings > count.short]
    short = [source for source, count in sources.items() if count.short]
    few_short = under_calibrated(calibration, short, alpha, is_short=True)
    return under_calibrated(calibration, whole, alpha) | {
        f"{source}, shorter than a window": count for source, count in few_short.items()
    }


def _each_commit(
    settings: JobSettings, out: Path, planned: Plan, done: list[Commit], workers: int
) -> Generator[Commit, None, None]:
    yield from done
    # Not a shard that files were added to since: they are for another job, and what is lacking is told at the end.
    wanted = planned.shard_ids - {commit.shard for commit in done}
    left: Iterator[Shard] = (shard for shard in shards(settings) if shard.id in wanted)
    yield from run_shards(settings, out, left, workers)
