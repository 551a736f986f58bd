"""Run a live job with its lines, its metrics and its end: what `avizor watch` does over folders and over standard input."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import click

from avizor_inference.errors import SettingsError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.file_access import path_of
from avizor_pipeline.checked_models import checked_models
from avizor_pipeline.cli.exit_status import EXIT_DEAD_LETTERS, EXIT_FAILED
from avizor_pipeline.derived.wanted import WantedFiles
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.live.arrivals import Arrivals
from avizor_pipeline.live.begun import Begun, read_begun
from avizor_pipeline.live.calibration_watch import CalibrationWatch
from avizor_pipeline.live.live_rounds import LiveRounds
from avizor_pipeline.live.pcm_input import STANDARD_INPUT_NUMBER, PcmInput
from avizor_pipeline.live.run_live import run_live
from avizor_pipeline.live.run_stream import StreamJob
from avizor_pipeline.live.source_watch import SourceWatch
from avizor_pipeline.live.stop_request import StopRequest
from avizor_pipeline.live.wav_head import PcmFormat
from avizor_pipeline.models import JobModel
from avizor_pipeline.reporting.job_summary import summarise, write_summary
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.progress import counted, found
from avizor_pipeline.reporting.summary import summary_lines
from avizor_pipeline.reporting.surprises import SaidOnce
from avizor_pipeline.reporting.watch_metrics import WatchMetrics
from avizor_pipeline.runners.local import LocalRunner
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.output_folder import Finished
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.section_files import SectionRecord
from avizor_pipeline.sources.open_source import open_source

# What comes on standard input, by its name in CONTENTS.
_SOUND = "audio"

# Least seconds between two lines that say what was done.
_LINE_EVERY_S = 60.0


@dataclass
class Watching:
    """Holds what both kinds of live jobs have in common.

    every_s: least seconds between two rounds, or between two sections of a stream. silent_after_s: see SourceWatch.
    """

    settings: JobSettings
    out: OutputPath
    every_s: float
    silent_after_s: float | None
    metrics: BatchMetrics
    live: WatchMetrics
    stop: StopRequest
    wanted: WantedFiles
    as_json: bool
    planned: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    _line_at: float = 0.0
    _said: int = 0
    _started: float = field(default_factory=time.monotonic)
    _once: SaidOnce = field(init=False)

    def __post_init__(self) -> None:
        self._once = SaidOnce(self.settings.channels)

    def folders(self, roots: Sequence[str], runner: LocalRunner, settle_s: float) -> int:
        """Watch folders until the job is asked to stop; return the exit code. Raises AvizorError."""
        models, begun = checked_models(self.settings), read_begun(self.settings, self.out)
        sources = SourceWatch(self.silent_after_s, begun.plan.sources, self.live.source)
        calibrations = CalibrationWatch(self.settings, models, begun.pins)

        def on_look() -> None:
            sources.check()
            self.live.folders(arrivals.away, arrivals.pending, arrivals.changed)

        arrivals = Arrivals(
            open_source(self.settings),
            [path_of(root) for root in roots],
            self.settings.roots,
            begun.known,
            settle_s,
            sources.heard,
            on_look,
        )

        def on_round(entries: Sequence[Entry]) -> None:
            self._plan(self.planned + sum(entry.items for entry in entries))
            for source in dict.fromkeys(entry.source for entry in entries):
                sources.heard(source)

        rounds = LiveRounds(
            self.settings,
            self.out,
            len(begun.plan.rounds),
            arrivals,
            calibrations,
            self.every_s,
            self.stop,
            on_round,
        )

        def on_resume(finished: Finished) -> None:  # the output folder is that of this job now
            self._begin(begun, finished, f"watching {', '.join(roots)}")
            arrivals.start()

        try:
            commits = run_live(self.settings, self.out, begun.plan, models, runner, rounds, on_resume)
            self._take(commits, calibrations)
        finally:
            arrivals.stop()
        return self._end(calibrations.judging)

    def stream(self, given: PcmFormat | None, source: str, recording_s: float, engine_wait_s: float) -> int:
        """Watch standard input until it ends; return the exit code. Raises AvizorError."""
        if self.settings.contents != (_SOUND,):
            raise SettingsError("sound comes on standard input, and one of the models takes something else; name others")
        models, begun = checked_models(self.settings), read_begun(self.settings, self.out)
        sources = SourceWatch(self.silent_after_s, [source], self.live.source)
        calibrations = CalibrationWatch(self.settings, models, begun.pins)
        input = PcmInput(STANDARD_INPUT_NUMBER, given)

        def on_look(came: bool) -> None:
            if came:
                sources.heard(source)
            sources.check()
            self.live.backlog(input.backlog)

        def on_section(section: SectionRecord) -> None:
            self.live.stream(source, section.windows)
            if section.number == 0:
                self._plan(self.planned + 1)

        job = StreamJob(
            self.settings,
            self.out,
            models,
            input,
            source,
            self.every_s,
            recording_s,
            engine_wait_s,
            calibrations,
            self.stop,
            on_look,
            on_section,
        )

        def on_resume(finished: Finished) -> None:
            self._begin(begun, finished, f"watching standard input as source {source!r}")

        self._take(job.run(begun.plan, on_resume), calibrations)
        return self._end(calibrations.judging)

    def _begin(self, begun: Begun, finished: Finished, what: str) -> None:
        self.outcome.resume(finished)
        self._plan(begun.plan.files)
        known = f", {counted(begun.plan.files, 'item')} of earlier runs" if begun.plan.rounds else ""
        click.echo(f"avizor watch: {what}{known}", err=True)

    def _plan(self, files: int) -> None:
        self.planned = files
        self.metrics.plan(files, self.settings.alpha)

    def _take(self, commits: Iterator[Commit], calibrations: CalibrationWatch) -> None:
        with closing(commits):  # type: ignore[type-var]
            for commit in commits:
                self.outcome.add(commit)
                self.metrics.count(commit, calibrations.calibrated)
                for line in self._once.lines(self.outcome):
                    click.echo(f"avizor watch: {line}", err=True)
                self._show(judges=bool(calibrations.calibrated))

    def _show(self, judges: bool) -> None:
        """Say what was done, at a bounded pace."""
        now, outcome = time.monotonic(), self.outcome
        if now - self._line_at < _LINE_EVERY_S or outcome.files_of_this_run <= 0:  # earlier ones come first
            return
        self._line_at = now
        new = outcome.files_of_this_run
        items = counted(new, "item") if new == outcome.files else f"{counted(outcome.files, 'item')}, {new}"
        click.echo(f"avizor watch: {items} of this run, {found(outcome, judges)}", err=True)

    def _end(self, models: Sequence[JobModel]) -> int:
        """Write what is made of the tables if all that was planned is done, and return the exit code."""
        left = self.planned - self.outcome.files
        if left:
            click.echo(
                f"stopped; {counted(left, 'item')} that came are planned, and not done: run the same command again to go on",
                err=True,
            )
            return 128 + self.stop.number if self.stop else EXIT_FAILED
        seconds = time.monotonic() - self._started
        self.wanted.write(self.out, models)
        summary = summarise(self.outcome, models, self.settings, self.out, seconds)
        write_summary(self.out, summary)
        if self.as_json:
            click.echo(summary.model_dump_json(indent=2))
        elif self.outcome.files:
            settings = self.settings
            for line in summary_lines(
                self.outcome,
                models,
                settings.alpha,
                self.out,
                seconds,
                settings.confidence,
                settings.channels,
                self.wanted.names,
            ):
                click.echo(line)
        return EXIT_DEAD_LETTERS if self.outcome.dead_letters else 0
