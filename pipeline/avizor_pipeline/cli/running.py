"""Run a planned job with its progress and summary: what `avizor batch` and `avizor retry` have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import click

from avizor_pipeline.cli.exit_status import EXIT_DEAD_LETTERS
from avizor_pipeline.derived.wanted import WantedFiles
from avizor_pipeline.failure_limit import FailureLimit
from avizor_pipeline.job import run_job
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import JobModel
from avizor_pipeline.plan import Plan
from avizor_pipeline.reporting.job_summary import summarise, write_summary
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.progress import show_progress
from avizor_pipeline.reporting.summary import summary_lines
from avizor_pipeline.reporting.surprises import SaidOnce
from avizor_pipeline.runners.base import Runner
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.kept_files import KeptFiles
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.rounds import last_calibrations
from avizor_pipeline.sinks.section_files import SectionRecord


@dataclass(frozen=True)
class RunOptions:
    """Holds how a job is run, and what is made from its tables at the end. None of it decides a row.

    max_failed: share of files that may fail; None: any.
    """

    out: OutputPath
    runner: Runner
    wanted: WantedFiles
    max_failed: float | None
    as_json: bool


def run_to_end(
    settings: JobSettings, models: Sequence[JobModel], plan: Plan, options: RunOptions, metrics: BatchMetrics
) -> int:
    """Run what is not yet done, print and write the summary, and return the exit code. Raises AvizorError."""
    out, limit, kept = options.out, FailureLimit(options.max_failed, options.out), KeptFiles()
    metrics.plan(plan.files, settings.alpha)
    pins = last_calibrations(plan.rounds)  # a live job may have begun to use others
    models = [model.judged_by(pins) for model in models]
    calibrated = {model.name: model.choice.calibration_id for model in models if model.choice.calibration_id}
    started, once = time.monotonic(), SaidOnce(settings.channels)
    outcome = Outcome(plan.left_out, plan.changes, plan.noun, work=plan.work)
    with ExitStack() as stack:
        stack.enter_context(kept.with_job_file(out, settings))
        # Of the last files the summary, which is next, says it.
        show = stack.enter_context(
            show_progress(plan.files, lambda met: once.lines(met) if met.files < plan.files else (), judges=bool(calibrated))
        )

        def on_section(section: SectionRecord) -> None:
            outcome.add_section(section)
            show(outcome)

        commits = stack.enter_context(closing(run_job(settings, out, plan, options.runner, outcome.resume, on_section)))
        for commit in commits:
            outcome.add(commit)
            kept.add(commit)
            show(outcome)
            metrics.count(commit, calibrated)
            if outcome.files_of_this_run:
                limit.check(outcome, commit, is_last=outcome.files == plan.files)
    kept.check(out)
    seconds = time.monotonic() - started
    options.wanted.write(out, models)
    summary = summarise(outcome, models, settings, out, seconds)
    write_summary(out, summary)
    if options.as_json:
        click.echo(summary.model_dump_json(indent=2))
    else:
        for line in summary_lines(
            outcome, models, settings.alpha, out, seconds, settings.confidence, settings.channels, options.wanted.names
        ):
            click.echo(line)
    if sys.stdout is not None:  # it may be closed
        sys.stdout.flush()  # a full disk is noticed here, before success is pushed
    return EXIT_DEAD_LETTERS if outcome.dead_letters else 0
