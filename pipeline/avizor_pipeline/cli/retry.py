"""Define `avizor retry`."""

from __future__ import annotations

import sys

import click

from avizor_pipeline.cli.ceiling import under_ceiling
from avizor_pipeline.cli.exit_status import PushedEnd
from avizor_pipeline.cli.running import RunOptions, run_to_end
from avizor_pipeline.cli.wanted_options import q_values_option, tables_option
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
from avizor_pipeline.models import open_models
from avizor_pipeline.plan import plan_retry
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.plan_lines import items_are
from avizor_pipeline.runners.open_runner import RunnerOptions, open_runner
from avizor_pipeline.sinks.output_files import OutputPath, output_path
from avizor_pipeline.sinks.output_folder import settings_of_job

_EPILOG = """\b
Examples:
  avizor retry results
  avizor retry results --file-timeout-s 3600

\b
Exit codes are those of avizor batch: 0 all rows are there, 3 some files still cannot be read.
"""


@click.command(short_help="Do the files again that a batch job could not read.", epilog=_EPILOG)
@click.argument("out", type=output_path)
@runner_option
@ray_address_option
@workers_option
@memory_option
@file_timeout_option
@engine_wait_option
@max_failed_option
@q_values_option
@tables_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, as OUT/summary.json holds it.")
def retry(
    out: OutputPath,
    runner: str,
    ray_address: str | None,
    workers: int | None,
    memory: int | None,
    file_timeout_s: float,
    engine_wait_s: float,
    max_failed: float | None,
    q_values: bool,
    tables: tuple[str, ...],
    as_json: bool,
) -> None:
    """Do the files of the dead letters in OUT again, after they or what reads them were corrected.

    OUT is the output folder of a batch job. Run this where the job was run: its path of the models may be relative. The rows of
    files that can be read now replace their dead letters, and no other row changes.
    """
    metrics = BatchMetrics()
    where = RunnerOptions(runner, ray_address, workers, file_timeout_s, engine_wait_s)
    with PushedEnd(metrics, None, "") as end, open_runner(where, end.leave_at_once) as opened:
        settings = settings_of_job(out)
        models = open_models(settings)
        wanted = WantedFiles(q_values, tables)
        wanted.check(models)
        plan = plan_retry(settings, out)
        click.echo(f"{items_are(plan.changes.new, plan.noun)} done again, of {plan.files}", err=as_json)
        if plan.changes.changed.count:
            click.echo(f"left as they are, since their files have changed: {plan.changes.changed}", err=as_json)
            click.echo("run the command of the job again with --changed redo: it does the whole files", err=as_json)
        run = under_ceiling(settings, out, plan, opened, memory, pinned=True)
        for line in run.notes:
            click.echo(line, err=as_json)
        options = RunOptions(out, run.runner, wanted, max_failed, as_json)
        code = run_to_end(settings, models, plan, options, metrics)
    sys.exit(code)
