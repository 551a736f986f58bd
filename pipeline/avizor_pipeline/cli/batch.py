"""Define `avizor batch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from avizor_inference.engines.open_engine import EMBEDDED
from avizor_inference.errors import JobError
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_pipeline.cli.exit_status import DEFAULT_JOB, EXIT_DEAD_LETTERS, PushedCommand, PushedEnd
from avizor_pipeline.job import check_models, run_job
from avizor_pipeline.job_outcome import Outcome, pooled_sources
from avizor_pipeline.models import DEFAULT_BATCH_SIZE, JobModel, open_models
from avizor_pipeline.plan import Plan, plan_job
from avizor_pipeline.reporting.job_summary import summarise, write_summary
from avizor_pipeline.reporting.metrics import BatchMetrics, check_gateway
from avizor_pipeline.reporting.progress import show_progress
from avizor_pipeline.reporting.summary import source_notes, summary_lines
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.local import LocalRunner, available_cores
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_folder import Finished, begun_settings, examine
from avizor_pipeline.sinks.part_files import SourceCount

_path = click.Path(path_type=Path)

_GROUPS = {
    "Job": ("repository", "models", "out", "alpha", "confidence", "source_pattern", "dry_run"),
    "Output": ("top_k", "embeddings", "as_json"),
    "Engine": ("engine", "device", "batch_size", "workers"),
    "Monitoring": ("metrics_port", "pushgateway", "push_job"),
}

_EPILOG = """\b
Examples:
  avizor batch sounds --model machine-sound --out results --alpha 0.05
  avizor batch sounds --model machine-sound --out results --alpha 0.05 --dry-run

\b
Exit codes, each of which is pushed if there is a Pushgateway:
  0    all rows are there
  1    failed
  2    wrong usage
  3    finished, with dead letters
  130  stopped by Ctrl-C (SIGINT); 143 by SIGTERM, 129 by SIGHUP
"""


@click.command(
    cls=PushedCommand,
    groups=_GROUPS,
    short_help="Run models over a dataset, into Parquet tables.",
    epilog=_EPILOG,
    context_settings={"show_default": True},
)
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@click.option("--models", "repository", type=_path, default=Path("models"), help="Folder of the model repository.")
@click.option("--model", "models", metavar="NAME", multiple=True, required=True, help="Model to run; repeat it for several.")
@click.option("--out", type=_path, required=True, help="Folder for the results; an interrupted job there is resumed.")
@click.option("--alpha", metavar="SHARE", type=float, default=0.01, help="Promised share of false alarms, 0 to 1.")
@click.option(
    "--confidence",
    metavar="SHARE",
    type=float,
    show_default="alpha is kept on average over calibrations",
    help="Probability with which this calibration keeps alpha, e.g. 0.95.",
)
@click.option(
    "--source-pattern",
    metavar="REGEX",
    default="",
    show_default="first folder of its path",
    help="Regular expression whose first group in a file's path is its source.",
)
@click.option("--dry-run", is_flag=True, help="Make the checks of a run, print what it would do, and stop.")
@click.option("--top-k", metavar="K", type=click.IntRange(min=1), default=3, help="Classes in the column top_k of windows/.")
@click.option("--embeddings", is_flag=True, help="Write the embedding of each window, for models with that output.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, as OUT/summary.json holds it.")
@click.option(
    "--engine", metavar="ENGINE", default=EMBEDDED, help="What runs the models: `ort`, in each worker, or triton://HOST:8001."
)
@click.option("--device", type=click.Choice(["config", "cpu", "cuda"]), default="config", help="Device of the engine `ort`.")
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    show_default=f"by config.pbtxt: tuned, else the largest preferred, else {DEFAULT_BATCH_SIZE}",
    help="Windows in one run of a model.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    default=available_cores,
    show_default="one for each core",
    help="Worker processes.",
)
@click.option(
    "--metrics-port", metavar="PORT", type=click.IntRange(0, 65535), help="Port of 127.0.0.1 for the metrics of a running job."
)
@click.option("--pushgateway", metavar="HOST:PORT", help="Pushgateway to push the end of the job to.")
@click.option("--push-job", metavar="NAME", default=DEFAULT_JOB, help="Name of the job at the Pushgateway.")
def batch(
    out: Path,
    workers: int,
    metrics_port: int | None,
    pushgateway: str | None,
    push_job: str,
    dry_run: bool,
    as_json: bool,
    **request: Any,
) -> None:
    """Run models over the recordings of DATASET (folders or files of sound or of signals), in bounded memory.

    Writes Parquet tables below OUT: windows/ and recordings/, and dead_letters/ for files that cannot be read. The source of
    a file is the first folder of its path below DATASET. To resume a job that was stopped, run the same command again.
    """
    if pushgateway is not None:
        check_gateway(pushgateway)
    metrics = BatchMetrics()
    if dry_run:
        with metrics.http_server(metrics_port):
            _dry_run(JobRequest(**request), out)
        return
    with PushedEnd(metrics, pushgateway, push_job) as end:
        with metrics.http_server(metrics_port):
            code = _run(JobRequest(**request), out, workers, metrics, as_json)
        problem = end.push(code)
    if problem:
        raise JobError(f"the job is done, but its outcome could not be pushed to {pushgateway}: {problem}")
    sys.exit(code)


def _dry_run(request: JobRequest, out: Path) -> None:
    settings, _ = _prepare(request, out)
    plan = plan_job(settings)
    models = check_models(settings)
    _print_header(plan, settings)
    _print_finished(examine(out, settings, plan.shard_ids), settings)
    counts = {source: SourceCount(recordings=count) for source, count in plan.sources.items()}
    for model in models:
        if model.calibration:
            pooled = pooled_sources(model.calibration, counts, settings.alpha, settings.confidence)
            for note in source_notes(pooled, settings.alpha, settings.confidence):
                click.echo(f"  {model.name}: {note.strip()}")


def _run(request: JobRequest, out: Path, workers: int, metrics: BatchMetrics, as_json: bool) -> int:
    """Run the job with its header, progress and summary; return the exit code."""
    settings, models = _prepare(request, out)
    plan = plan_job(settings)
    _print_header(plan, settings, to_stderr=as_json)
    metrics.set_planned(plan.files)
    started = time.monotonic()
    outcome = Outcome(plan.left_out)
    with (
        show_progress(plan.files) as show,
        closing(run_job(settings, out, plan, LocalRunner(workers), outcome.resume)) as commits,
    ):
        for commit in commits:
            outcome.add(commit)
            show(outcome)
            metrics.count(commit)
    metrics.set_verdicts(outcome, models)
    seconds = time.monotonic() - started
    summary = summarise(outcome, models, settings, out, seconds)
    write_summary(out, summary)
    if as_json:
        click.echo(summary.model_dump_json(indent=2))
    else:
        for line in summary_lines(outcome, models, settings.alpha, out, seconds, settings.confidence):
            click.echo(line)
    if sys.stdout is not None:  # it may be closed
        sys.stdout.flush()  # a full disk is noticed here, before success is pushed
    return EXIT_DEAD_LETTERS if outcome.dead_letters else 0


def _prepare(request: JobRequest, out: Path) -> tuple[JobSettings, Sequence[JobModel]]:
    settings = request.to_settings(begun_settings(out))
    return settings, open_models(settings)


def _print_header(plan: Plan, settings: JobSettings, *, to_stderr: bool = False) -> None:
    """Print what there is to do, and what a user may not expect."""
    click.echo(f"{plan.files} files, {plan.bytes / 1e6:.1f} MB, in {len(plan.shard_ids)} shards", err=to_stderr)
    if plan.left_out.counts:
        click.echo(f"left out: {plan.left_out}", err=to_stderr)
    if settings.source_pattern and (unmatched := plan.sources[DEFAULT_SOURCE]):
        click.echo(f"{unmatched} files do not match --source-pattern; their source is {DEFAULT_SOURCE!r}", err=to_stderr)
    if settings.content == "audio":
        click.echo("sound is taken at -1..1: samples beyond are clipped, and the summary counts the files", err=to_stderr)


def _print_finished(finished: Finished, settings: JobSettings) -> None:
    if finished.commits:
        click.echo(f"  {len(finished.commits)} shards are finished")
    for damage in finished.damage.values():
        click.echo(f"  {damage}: its files would be done again")
    for choice in settings.models:
        calibration = choice.calibration_id or "none"
        click.echo(f"  {choice.name} version {choice.version}, calibration {calibration}, batches of {choice.batch_size}")
