"""Define `avizor watch`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from avizor_inference.cli_option_groups import GroupedCommand
from avizor_inference.errors import SettingsError
from avizor_inference.finite_range import FiniteRange
from avizor_inference.items.file_access import name_of, other_kind
from avizor_inference.items.path_lists import is_pattern
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.items.standard_input import STANDARD_INPUT
from avizor_inference.object_store import is_url
from avizor_inference.source_options import channels_option
from avizor_pipeline.cli.job_options import engine_options, model_options, output_options
from avizor_pipeline.cli.watching import Watching
from avizor_pipeline.cli.worker_options import engine_wait_option, file_timeout_option, workers_option
from avizor_pipeline.derived.wanted import WantedFiles
from avizor_pipeline.live.open_writers import ignore_lease_signals
from avizor_pipeline.live.pcm_input import STANDARD_INPUT_NUMBER
from avizor_pipeline.live.source_watch import MOST_SOURCES
from avizor_pipeline.live.stop_request import stop_requests
from avizor_pipeline.live.wav_head import PcmFormat
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.watch_metrics import WatchMetrics
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.open_runner import RunnerOptions
from avizor_pipeline.settings import SHARD_MIB
from avizor_pipeline.sinks.output_files import OutputPath, output_path
from avizor_pipeline.sinks.output_folder import begun_settings
from avizor_pipeline.sinks.outside_datasets import check_outside
from avizor_pipeline.sinks.reconstruction_files import check_folder

_FORMATS = ("s16le", "f32le")

_GROUPS = {
    "Job": ("repository", "models", "out", "alpha", "confidence", "source_pattern", "channels"),
    "Folders": ("settle_s",),
    "Standard input": ("rate", "format", "input_channels", "source", "recording_s"),
    "Time": ("every_s", "silent_after_s"),
    "Output": ("top_k", "embeddings", "reconstructions", "q_values", "tables", "as_json"),
    "Engine": ("engine", "device", "batch_size", "shard_mib", "workers", "file_timeout_s", "engine_wait_s"),
    "Monitoring": ("metrics_port",),
}

_EPILOG = """\b
Examples:
  avizor watch incoming --model machine-sound --out results --silent-after-s 3600
  arecord -f S16_LE -r 16000 | avizor watch - --source pump1 --model machine-sound --out results

\b
Exit codes:
  0    ended by a signal, or with its standard input; all that was begun has its rows
  1    failed
  2    wrong usage
  3    as 0, with dead letters
  130  ended by Ctrl-C (SIGINT), 143 by SIGTERM, 129 by SIGHUP, before all that was planned was done: run it again
"""


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
    short_help="Run models over files, or sound, as they come.",
    epilog=_EPILOG,
    context_settings={"show_default": True},
)
@click.argument("datasets", nargs=-1, required=True, metavar="DIR...|-")
@model_options
@click.option(
    "--out",
    metavar="PATH",
    type=output_path,
    required=True,
    help="Folder for the results; a job there goes on.",
)
@click.option(
    "--source-pattern",
    metavar="REGEX",
    default="",
    show_default="the first folder below DIR",
    help="Regular expression whose first group in a file's path below DIR is its source.",
)
@channels_option
@click.option(
    "--settle-s",
    metavar="S",
    type=FiniteRange(min=0),
    default=2.0,
    help="Seconds for which a file has to stay as it is until it counts as finished; more for folders of another machine.",
)
@click.option("--rate", metavar="HZ", type=click.IntRange(min=1), help="Sample rate of raw PCM; a WAV tells its own.")
@click.option("--format", type=click.Choice(_FORMATS), show_default="s16le", help="Samples of raw PCM.")
@click.option("--input-channels", metavar="N", type=click.IntRange(min=1), show_default="1", help="Channels of raw PCM.")
@click.option("--source", metavar="NAME", show_default=DEFAULT_SOURCE, help="Source of what comes on standard input.")
@click.option(
    "--recording-s",
    metavar="S",
    type=FiniteRange(min=1),
    show_default="3600",
    help="Seconds of sound after which a new recording begins, with a row of its own in recordings/.",
)
@click.option(
    "--every-s",
    metavar="S",
    type=FiniteRange(min=0.1),
    default=10.0,
    help="Least seconds between two parts of the tables: what comes meanwhile is written together.",
)
@click.option(
    "--silent-after-s",
    metavar="S",
    type=FiniteRange(min=0, min_open=True),
    show_default="never",
    help="Seconds without anything from a source after which it is said to be silent.",
)
@output_options
@engine_options
@click.option(
    "--shard-mib", metavar="N", type=click.IntRange(min=1), default=SHARD_MIB, help="MiB of files that a worker does at once."
)
@workers_option
@file_timeout_option
@engine_wait_option
@click.option("--metrics-port", metavar="PORT", type=click.IntRange(0, 65535), help="Port of 127.0.0.1 for the metrics.")
def watch(
    out: OutputPath,
    settle_s: float,
    rate: int | None,
    format: str | None,
    input_channels: int | None,
    source: str | None,
    recording_s: float | None,
    every_s: float,
    silent_after_s: float | None,
    q_values: bool,
    tables: tuple[str, ...],
    as_json: bool,
    workers: int | None,
    file_timeout_s: float,
    engine_wait_s: float,
    metrics_port: int | None,
    **request: Any,
) -> None:
    """Run models over the files that arrive in DIR, or over the sound that comes on standard input (`-`), until it is stopped.

    A file is read when it is finished: its size and time of change have stayed for --settle-s, and no process of this machine
    has it open for writing. Standard input is raw PCM, or a WAV as arecord writes it.

    OUT is that of a batch job: `avizor batch DIR` with the same options goes on with it, and `avizor verify` proves it. The
    first signal to stop ends the job when what it has begun is done, a second one at once.
    """
    asked = JobRequest(**request)
    given = (rate, format, input_channels, source, recording_s)
    streams = STANDARD_INPUT in asked.datasets
    _check(asked, given, streams=streams)
    ignore_lease_signals()
    metrics = BatchMetrics(most_sources=MOST_SOURCES)
    live = WatchMetrics(metrics)
    with stop_requests() as stop, metrics.http_server(metrics_port):
        settings = asked.to_settings(begun := begun_settings(out))
        if begun is None and not streams:
            check_outside("--out", out, settings.roots)
        if asked.reconstructions:
            check_folder(asked.reconstructions, settings.roots, begun=begun is not None)
        wanted = WantedFiles(q_values, tables)
        watching = Watching(settings, out, every_s, silent_after_s, metrics, live, stop, wanted, as_json)
        if streams:
            pcm = PcmFormat(format or "s16le", rate, input_channels or 1) if rate else None
            code = watching.stream(pcm, name_of(source or DEFAULT_SOURCE), recording_s or 3600.0, engine_wait_s)
        else:
            runner = RunnerOptions(workers=workers, file_timeout_s=file_timeout_s, engine_wait_s=engine_wait_s).here
            code = watching.folders(asked.datasets, runner, settle_s)
        metrics.finish(code)
    sys.exit(code)


def _check(asked: JobRequest, given: tuple[object, ...], *, streams: bool) -> None:
    """Raise UsageError or SettingsError for options that do not fit what is watched."""
    rate, format, channels, *_ = given
    if streams:
        if len(asked.datasets) > 1:
            raise click.UsageError("`-` is standard input, and is watched alone")
        if sys.stdin is None:
            raise click.UsageError("standard input is closed; send sound through a pipe")
        if os.isatty(STANDARD_INPUT_NUMBER):
            raise click.UsageError("standard input is a terminal; send sound through a pipe")
        if asked.reconstructions or asked.source_pattern:
            raise click.UsageError("--reconstructions and --source-pattern are for folders")
        if (format or channels) and not rate:
            raise click.UsageError("--format and --input-channels are of raw PCM; give its --rate, too")
        return
    if any(option is not None for option in given):
        raise click.UsageError("--rate, --format, --input-channels, --source and --recording-s are for standard input, `-`")
    for root in asked.datasets:
        path = Path(root)
        if is_url(path) or is_pattern(path) or path.is_file():
            raise SettingsError(f"{root} is not a folder of this machine; run `avizor batch` over it again and again")
        if other := other_kind(path):
            raise SettingsError(f"{root} is {other}; sound of a program is watched on standard input: PROGRAM | avizor watch -")
        if not path.is_dir():
            raise SettingsError(f"{root} does not exist; create it, or mount it, before it is watched")
