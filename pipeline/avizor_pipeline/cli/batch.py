"""`avizor batch`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from pydantic import ValidationError

from avizor_inference.engines.embedded import Device
from avizor_inference.engines.open import EMBEDDED
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.items.files import name_of
from avizor_inference.items.sources import DEFAULT_SOURCE, SourceRule
from avizor_inference.repository.models import ModelRepository
from avizor_inference.strict_json import describe
from avizor_pipeline.cli.exit_status import DEFAULT_JOB, EXIT_DEAD_LETTERS, Ends, PushedCommand
from avizor_pipeline.job import check_models, run_job
from avizor_pipeline.models import USUAL_BATCH_SIZE, choose, open_models
from avizor_pipeline.outcome import pooled_sources
from avizor_pipeline.plan import Plan, plan
from avizor_pipeline.reporting.metrics import BatchMetrics, check_gateway
from avizor_pipeline.reporting.progress import progress
from avizor_pipeline.reporting.summary import source_notes, summary
from avizor_pipeline.runners.local import available_cores
from avizor_pipeline.settings import ROWS_FORMAT, JobSettings
from avizor_pipeline.sinks.output import Finished, examine
from avizor_pipeline.sinks.parts import Commit, SourceCount

_path = click.Path(path_type=Path)

_EXIT_CODES = """\b
Exit codes, each of which is pushed where there is a Pushgateway:
  0    all rows are there
  1    failed
  2    wrong usage
  3    finished, with dead letters
  130  stopped by Ctrl-C (SIGINT); 143 by SIGTERM, 129 by SIGHUP
"""


@click.command(cls=PushedCommand, epilog=_EXIT_CODES)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--models", "repository", type=_path, default=Path("models"), show_default=True, help="Model repository.")
@click.option("--model", "names", multiple=True, required=True, help="Model to run; repeat it for several.")
@click.option("--out", type=_path, required=True, help="Folder for the results; an interrupted job there is resumed.")
@click.option("--engine", default=EMBEDDED, show_default=True, help="`ort`, embedded, or triton://HOST:8001.")
@click.option("--alpha", type=float, default=0.01, show_default=True, help="Promised share of false alarms.")
@click.option("--source-pattern", default="", help="Regular expression; its first group in a file's path is the source.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one a core]")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Windows in one run of a model.  [what `avizor tune` wrote into its config, else the largest that the config prefers, "
    f"else {USUAL_BATCH_SIZE}]",
)
@click.option("--device", type=click.Choice(["config", "cpu", "cuda"]), default="config", show_default=True)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve the job's metrics here while it runs.")
@click.option("--pushgateway", metavar="HOST:PORT", help="Push how the job ends to this Pushgateway.")
@click.option("--push-job", default=DEFAULT_JOB, show_default=True, help="Name of the job there.")
@click.option("--dry-run", is_flag=True, help="Make the checks of a run, say what it would do, and stop.")
def batch(
    sources: tuple[str, ...],
    repository: Path,
    names: tuple[str, ...],
    out: Path,
    engine: str,
    alpha: float,
    source_pattern: str,
    workers: int | None,
    batch_size: int | None,
    device: Device,
    metrics_port: int | None,
    pushgateway: str | None,
    push_job: str,
    dry_run: bool,
) -> None:
    """Stream the audio files of SOURCE (folders or files) through models, in bounded memory.

    Writes Parquet tables below OUT: windows/ and recordings/, and dead_letters/ for files that cannot be read. The source of
    a file is the first folder of its path below SOURCE. The same command goes on with a job that was stopped.
    """

    def settings() -> JobSettings:
        return _settings(sources, repository, names, engine, alpha, source_pattern, batch_size, device)

    if pushgateway is not None:
        check_gateway(pushgateway)
    metrics = BatchMetrics()
    if dry_run:
        with metrics.served(metrics_port):
            _dry_run(settings(), out)
        return
    with Ends(metrics, pushgateway, push_job) as ends:
        with metrics.served(metrics_port):
            code = _run(settings(), out, workers or available_cores(), metrics)
        problem = ends.push(code)
    if problem:
        raise JobError(f"the job is done, but its outcome could not be pushed to {pushgateway}: {problem}")
    sys.exit(code)


def _dry_run(settings: JobSettings, out: Path) -> None:
    planned = plan(settings)
    models = check_models(settings)
    _say(planned, settings, examine(out, settings, planned.shard_ids))
    heard = {source: SourceCount(recordings=count) for source, count in planned.sources.items()}
    for model in models:
        if model.calibration:
            for note in source_notes(pooled_sources(model.calibration, heard, settings.alpha), settings.alpha):
                click.echo(f"  {model.name}: {note.strip()}")


def _run(settings: JobSettings, out: Path, workers: int, metrics: BatchMetrics) -> int:
    """Run the job with its header, progress and summary; return the exit code."""
    planned = plan(settings)
    _header(planned, settings.source_pattern)
    metrics.plan(planned.files)
    started = time.monotonic()
    with progress(planned.files) as advance:

        def on_commit(commit: Commit) -> None:
            advance(commit.files)
            metrics.count(commit)

        outcome = run_job(settings, out, planned, workers, on_commit)
    metrics.judge(outcome)
    for line in summary(outcome, settings, out, time.monotonic() - started):
        click.echo(line)
    if sys.stdout is not None:  # it may be closed
        sys.stdout.flush()  # a disk that is full is found here, and not when nothing can be pushed any more
    return EXIT_DEAD_LETTERS if outcome.dead_letters else 0


def _settings(
    sources: tuple[str, ...],
    repository: Path,
    names: tuple[str, ...],
    engine: str,
    alpha: float,
    source_pattern: str,
    batch_size: int | None,
    device: Device,
) -> JobSettings:
    if len(set(names)) != len(names):
        raise SettingsError("a model is named twice; name each once")
    if not 0 < alpha < 1:
        raise SettingsError(f"--alpha {alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01")
    SourceRule(source_pattern)
    models = ModelRepository(repository)
    try:
        settings = JobSettings(
            rows_format=ROWS_FORMAT,
            roots=tuple(map(name_of, sources)),
            repository=str(repository),
            models=tuple(choose(models, name, batch_size) for name in names),
            alpha=alpha,
            source_pattern=source_pattern,
            engine=engine,
            device=device,
        )
    except ValidationError as error:
        raise SettingsError(describe(error)) from error
    open_models(settings)
    return settings


def _header(planned: Plan, pattern: str) -> None:
    """Say what there is to do, and what a user might not expect of it."""
    click.echo(f"{planned.files} files, {planned.bytes / 1e6:.1f} MB, in {len(planned.shard_ids)} shards")
    if planned.left_out.counts:
        click.echo(f"left out: {planned.left_out}")
    if pattern and (unmatched := planned.sources[DEFAULT_SOURCE]):
        click.echo(f"{unmatched} files do not match --source-pattern; their source is {DEFAULT_SOURCE!r}")
    click.echo("sound is taken at -1..1: samples beyond are clipped, and the summary counts the files")


def _say(planned: Plan, settings: JobSettings, finished: Finished) -> None:
    _header(planned, settings.source_pattern)
    if finished.commits:
        click.echo(f"  {len(finished.commits)} shards are finished")
    for flaw in finished.flaws.values():
        click.echo(f"  {flaw}: its files would be done again")
    for choice in settings.models:
        calibration = choice.calibration_id or "none"
        click.echo(f"  {choice.name} version {choice.version}, calibration {calibration}, batches of {choice.batch_size}")
