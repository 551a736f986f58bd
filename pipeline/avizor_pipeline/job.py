"""A batch job from its settings to its outcome: claim the folder, plan, skip what is done, run, add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avizor_inference.calibration import Calibration
from avizor_inference.errors import JobError
from avizor_inference.judge import recordings_needed
from avizor_pipeline.local import run_shards
from avizor_pipeline.models import open_job_engine, open_models
from avizor_pipeline.parts import Commit, SourceCount, commits
from avizor_pipeline.plan import Shard, shards
from avizor_pipeline.settings import JobSettings, claim_output


@dataclass(frozen=True)
class Plan:
    """What there is to do, counted without keeping it."""

    files: int
    bytes: int
    shard_ids: frozenset[str]


@dataclass
class Outcome:
    """What a job came to, over all of its shards."""

    files: int = 0
    windows: int = 0
    dead_letters: int = 0
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # model -> label -> recordings
    sources: dict[str, dict[str, SourceCount]] = field(default_factory=dict)  # model -> source -> counts
    # model with a calibration -> source judged by all sources together -> recordings of its own there, 0 if never calibrated
    pooled: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, commit: Commit) -> None:
        """Count one shard."""
        self.files += commit.files
        self.windows += commit.windows
        self.dead_letters += commit.dead_letters
        for model, labels in commit.labels.items():
            self.labels.setdefault(model, Counter()).update(labels)
        for model, sources in commit.sources.items():
            counted = self.sources.setdefault(model, {})
            for source, count in sources.items():
                counted[source] = counted.get(source, SourceCount()) + count


def plan(settings: JobSettings) -> Plan:
    """Count the files and shards. Raises JobError if there are none."""
    files, size, ids = 0, 0, set()
    for shard in shards(settings):
        files += len(shard.recordings)
        size += sum(recording.size for recording in shard.recordings)
        ids.add(shard.id)
    if not files:
        raise JobError(f"no audio files in {', '.join(settings.roots)}")
    return Plan(files, size, frozenset(ids))


def run_job(settings: JobSettings, out: Path, planned: Plan, workers: int, on_commit: Callable[[Commit], None]) -> Outcome:
    """Run what is not yet done. `on_commit` is called for each shard, those of an earlier run included.

    Raises JobError; then run again with the same settings to go on.
    """
    _check_models(settings)
    claim_output(out, settings)
    outcome = Outcome()
    done = _already_done(out, planned)
    for commit in _each_commit(settings, out, done, workers):
        outcome.add(commit)
        on_commit(commit)
    for model in open_models(settings):
        if model.calibration:
            outcome.pooled[model.name] = _pooled(model.calibration, outcome.sources[model.name], settings.alpha)
    return outcome


def _pooled(calibration: Calibration, sources: Iterable[str], alpha: float) -> dict[str, int]:
    """Sources whose own recordings cannot support alpha, with their number; none where a calibration tells no sources apart."""
    if not calibration.tells_sources_apart:
        return {}
    own = {source: calibration.recordings(source) for source in sources}
    return {source: count for source, count in own.items() if count < recordings_needed(alpha)}


def _check_models(settings: JobSettings) -> None:
    """Fail before any work where a model cannot be loaded, or cannot judge at this alpha."""
    with open_job_engine(settings) as engine:
        for model in open_models(settings):
            served = engine.spec(model.name, model.choice.version).sha256
            if served not in ("", model.choice.sha256):
                raise JobError(
                    f"{settings.engine} serves another {model.name!r} (sha256 {served[:12]}...) than {settings.repository} "
                    f"holds ({model.choice.sha256[:12]}...); reload it there, or name the repository it serves"
                )
            if model.judge:
                model.judge.require_alpha(settings.alpha)


def _already_done(out: Path, planned: Plan) -> list[Commit]:
    done = list(commits(out))
    stray = [commit.shard for commit in done if commit.shard not in planned.shard_ids]
    if stray:
        raise JobError(
            f"{out} holds {len(stray)} shards of files that have changed or gone since; rows would be doubled or lost: "
            "choose another --out"
        )
    return done


def _each_commit(settings: JobSettings, out: Path, done: list[Commit], workers: int) -> Iterator[Commit]:
    yield from done
    finished = {commit.shard for commit in done}
    left: Iterator[Shard] = (shard for shard in shards(settings) if shard.id not in finished)
    yield from run_shards(settings, out, left, workers)
