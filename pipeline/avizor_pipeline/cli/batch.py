"""Define `avizor batch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from avizor_inference.errors import JobError
from avizor_inference.finite_range import FiniteRange
from avizor_inference.items.file_access import name_of
from avizor_inference.items.input_spec import has_channels
from avizor_inference.items.kinds.base import TensorBytes
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.items.standard_input import STANDARD_INPUT, keep_list, with_kept_list
from avizor_inference.source_options import SOURCE_OPTIONS, source_options
from avizor_pipeline.checked_models import checked_models
from avizor_pipeline.cli.ceiling import Fitted, under_ceiling
from avizor_pipeline.cli.exit_status import DEFAULT_JOB, PushedCommand, PushedEnd
from avizor_pipeline.cli.job_options import engine_options, model_options, output_options
from avizor_pipeline.cli.running import RunOptions, run_to_end
from avizor_pipeline.cli.worker_options import (
    engine_wait_option,
    file_timeout_option,
    max_failed_option,
    memory_option,
    ray_address_option,
    runner_option,
    workers_option,
)
from avizor_pipeline.derived.wanted import WantedFiles
from avizor_pipeline.estimate import estimate
from avizor_pipeline.job import examine_job
from avizor_pipeline.job_outcome import pooled_sources
from avizor_pipeline.models import JobModel, content_of, open_models
from avizor_pipeline.plan import Plan, plan_job
from avizor_pipeline.reporting.estimate_lines import estimate_lines
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.plan_lines import change_lines, version_lines
from avizor_pipeline.reporting.progress import counted, counted_of, size
from avizor_pipeline.reporting.pushgateway import PushAccess, check_gateway
from avizor_pipeline.reporting.summary import source_notes
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.base import SizedRunner
from avizor_pipeline.runners.open_runner import LOCAL, RunnerOptions, open_runner
from avizor_pipeline.settings import SHARD_MIB, JobSettings
from avizor_pipeline.sinks.output_files import OutputPath, output_path
from avizor_pipeline.sinks.output_folder import Finished, begun_settings, commits_of
from avizor_pipeline.sinks.outside_datasets import check_outside
from avizor_pipeline.sinks.part_files import SourceCount
from avizor_pipeline.sinks.reconstruction_files import check_folder
from avizor_pipeline.sinks.write_errors import writing

_GROUPS = {
    "Job": (
        "repository",
        "models",
        "out",
        "alpha",
        "confidence",
        *SOURCE_OPTIONS,
        "changed",
        "dry_run",
    ),
    "Output": ("top_k", "embeddings", "reconstructions", "q_values", "tables", "as_json"),
    "Engine": (
        *("engine", "device", "batch_size", "shard_mib", "runner", "ray_address", "workers", "memory"),
        *("file_timeout_s", "engine_wait_s", "max_failed"),
    ),
    "Monitoring": ("metrics_port", "pushgateway", "push_job", "push_token_file", "push_ca_file", "runs_every"),
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
@model_options
@click.option(
    "--out",
    metavar="PATH",
    type=output_path,
    required=True,
    help="Folder for the results, or s3://BUCKET/PREFIX (also gs://, az://); a job there goes on, with new files.",
)
@source_options("a DATASET")
@click.option(
    "--changed",
    type=click.Choice(["leave", "redo"]),
    default="leave",
    help="What to do with files whose size or time of change is another than in an earlier run.",
)
@click.option("--dry-run", is_flag=True, help="Make the checks of a run, print what it would do and how long it would take.")
@output_options
@engine_options
@click.option(
    "--shard-mib",
    metavar="N",
    type=click.IntRange(min=1),
    default=SHARD_MIB,
    show_default=True,
    help="MiB of files that a worker does at once. A longer file of sound is cut into parts of about this size.",
)
@runner_option
@ray_address_option
@workers_option
@memory_option
@file_timeout_option
@engine_wait_option
@max_failed_option
@click.option(
    "--metrics-port", metavar="PORT", type=click.IntRange(0, 65535), help="Port of 127.0.0.1 for the metrics of a running job."
)
@click.option(
    "--pushgateway", metavar="HOST:PORT", help="Pushgateway to push to, or its URL: each minute, and the end of the job."
)
@click.option("--push-job", metavar="NAME", default=DEFAULT_JOB, help="Name of the job at the Pushgateway.")
@click.option(
    "--push-token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the token of a Pushgateway behind a front door; its address is then an https URL.",
)
@click.option(
    "--push-ca-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificates (PEM) to trust there, instead of the system's.",
)
@click.option(
    "--runs-every",
    metavar="HOURS",
    type=FiniteRange(min=0, min_open=True),
    help="Hours between two runs, as your scheduler starts them: an alert tells of one that is missing.",
)
def batch(
    out: OutputPath,
    runner: str,
    ray_address: str | None,
    workers: int | None,
    memory: int | None,
    file_timeout_s: float,
    metrics_port: int | None,
    pushgateway: str | None,
    push_job: str,
    push_token_file: Path | None,
    push_ca_file: Path | None,
    runs_every: float | None,
    dry_run: bool,
    as_json: bool,
    changed: str,
    q_values: bool,
    tables: tuple[str, ...],
    engine_wait_s: float,
    max_failed: float | None,
    **request: Any,
) -> None:
    """Run models over DATASET (sound, signals, images, table rows), in bounded memory.

    DATASET is a folder, a file, a quoted pattern ('sounds/**/*.wav'), or a list of files: .txt with a path a line, CSV or
    Parquet with --path-column, or `-` for a list from standard input.

    Writes Parquet tables below OUT: windows/ and recordings/, and dead_letters/ for files that cannot be read. The source of
    a file is the first folder of its path below DATASET, in a list the folder that holds it. The same command again goes on
    with a job that was stopped, and does the files that are new since.
    """
    access = PushAccess(push_token_file, push_ca_file)
    if pushgateway is not None:
        check_gateway(pushgateway, access)
    metrics, where = BatchMetrics(), RunnerOptions(runner, ray_address, workers, file_timeout_s, engine_wait_s)
    asked, redo = JobRequest(**request), changed == "redo"
    wanted = WantedFiles(q_values, tables)
    prepared = partial(_prepare, asked, out, wanted, memory=memory, redo=redo)
    if dry_run:
        with metrics.http_server(metrics_port):
            _dry_run(prepared(where.here), out, where, redo=redo, as_json=as_json)
        return
    with PushedEnd(metrics, pushgateway, push_job, runs_every and runs_every * 3600, access) as end:
        with metrics.http_server(metrics_port), open_runner(where, end.leave_at_once) as opened:
            models, (settings, plan, fitted, notes) = prepared(opened)
            _print_header(plan, settings, models, redo=redo, to_stderr=as_json)
            _print_lines(notes, to_stderr=as_json)
            options = RunOptions(out, fitted, wanted, max_failed, as_json)
            code = run_to_end(settings, models, plan, options, metrics)
        problem = end.push(code)
    if problem:
        raise JobError(f"the job is done, but its outcome could not be pushed to {pushgateway}: {problem}")
    sys.exit(code)


def _dry_run(prepared: _Prepared, out: OutputPath, where: RunnerOptions, *, redo: bool, as_json: bool) -> None:
    settings, plan, runner, notes = prepared.run
    began = time.monotonic()
    models = checked_models(settings)
    checked_s = time.monotonic() - began
    finished = examine_job(settings, out, plan)
    _print_header(plan, settings, models, redo=redo, to_stderr=as_json)
    _print_lines(notes, to_stderr=as_json)
    if not as_json:
        _print_finished(finished, settings)
        _print_notes(plan, settings, models)
        if where.name != LOCAL:
            click.echo(f"  the time is that of {counted(runner.workers, 'worker')} of this machine: a dry run uses no cluster")
    commits = commits_of(out, finished.shards)
    found = estimate(settings, models, plan, runner, runner.workers, finished.tasks, checked_s, commits)
    for line in [found.model_dump_json(indent=2)] if as_json else estimate_lines(found, models, settings.channels):
        click.echo(line)


def _print_notes(plan: Plan, settings: JobSettings, models: Sequence[JobModel]) -> None:
    """Print what the promise is worth for each source."""
    counts = {source: SourceCount(recordings=count) for source, count in plan.sources.items()}
    for model in models:
        if model.calibration:
            pooled = pooled_sources(model.calibration, counts, settings.alpha, settings.confidence)
            for note in source_notes(pooled, model, settings.alpha, settings.confidence):
                click.echo(f"  {model.name}: {note.strip()}")


class _Prepared(NamedTuple):
    """Holds the models of a job, and the run of it that is fitted under --memory."""

    models: Sequence[JobModel]
    run: Fitted


def _prepare(
    request: JobRequest, out: OutputPath, wanted: WantedFiles, runner: SizedRunner, *, memory: int | None, redo: bool
) -> _Prepared:
    """Check and plan a run, and arrange it under a ceiling of memory if there is one."""
    settings = request.to_settings(begun := begun_settings(out))
    models = open_models(settings)
    wanted.check(models)
    if begun is None:
        check_outside("--out", out, settings.roots)
    if request.reconstructions:
        check_folder(request.reconstructions, settings.roots, begun=begun is not None)
    with TemporaryDirectory() as folder:
        if STANDARD_INPUT in request.datasets:
            nothing = begun is not None and sys.stdin.isatty()  # who resumes a job by hand has no list
            with writing(Path(folder)):
                keep_list(BytesIO() if nothing else sys.stdin.buffer, Path(folder))
        roots = [name_of(root) for root in with_kept_list(request.datasets, Path(folder))]
        plan = plan_job(settings, out, roots, redo=redo)
    pinned = begun is not None or request.batch_size is not None
    fitted = under_ceiling(settings, out, plan, runner, memory, pinned=pinned)
    if fitted.settings != settings:
        models = open_models(fitted.settings)
    return _Prepared(models, fitted)


def _print_lines(lines: Sequence[str], *, to_stderr: bool) -> None:
    for line in lines:
        click.echo(line, err=to_stderr)


def _print_header(
    plan: Plan, settings: JobSettings, models: Sequence[JobModel], *, redo: bool, to_stderr: bool = False
) -> None:
    """Print what there is to do, and what a user may not expect."""
    count = counted_of(plan.files, plan.noun) + (f", many in {counted(plan.packed, 'file')}" if plan.packed else "")
    click.echo(f"{count}, {size(plan.bytes)}, in {counted(plan.tasks, 'shard')}", err=to_stderr)
    for line in (*change_lines(plan, redo=redo), *version_lines(settings)):
        click.echo(line, err=to_stderr)
    if plan.left_out.counts:
        click.echo(f"left out: {plan.left_out}", err=to_stderr)
    if settings.limit:
        click.echo(f"--limit: the first {counted_of(settings.limit, plan.noun)} only", err=to_stderr)
    if settings.source_pattern and (unmatched := plan.sources[DEFAULT_SOURCE]):
        what = f"{counted(unmatched, 'file does', 'files do')} not match --source-pattern"
        click.echo(f"{what}; {'its' if unmatched == 1 else 'their'} source is {DEFAULT_SOURCE!r}", err=to_stderr)
    for model in models:
        content = content_of(model.spec)
        if not plan.kinds[content.name] + plan.kinds[TensorBytes.name]:
            click.echo(f"{model.name} takes {content.name}, and there are no such files: it has nothing to do", err=to_stderr)
        if settings.channels != "each" and model.format and not has_channels(model.spec):
            click.echo(f"{model.name} takes all channels together, whatever --channels says", err=to_stderr)


def _print_finished(finished: Finished, settings: JobSettings) -> None:
    if finished.tasks:
        click.echo(f"  {counted(len(finished.tasks), 'shard')} finished")
    if finished.outdated:
        shards = counted(len(finished.outdated), "shard")
        click.echo(f"  {shards} would be done again, without the files that have moved to a new one")
    for damage in finished.damage.values():
        click.echo(f"  {damage}: its files would be done again")
    for choice in settings.models:
        calibration = choice.calibration_id or "none"
        click.echo(f"  {choice.name} version {choice.version}, calibration {calibration}, batches of {choice.batch_size}")
