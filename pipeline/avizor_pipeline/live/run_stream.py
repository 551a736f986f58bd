"""Run models over sound that comes on standard input, until it ends or the job is asked to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from avizor_inference.errors import MediaError
from avizor_inference.items.pcm import PcmSamples
from avizor_pipeline.engine_wait import EngineWait, wait_line
from avizor_pipeline.job_context import open_context
from avizor_pipeline.live.calibration_watch import CalibrationWatch
from avizor_pipeline.live.pcm_input import PcmInput
from avizor_pipeline.live.stop_request import StopRequest
from avizor_pipeline.live.stream_recording import StreamRecording, stream_entry
from avizor_pipeline.live.stream_sound import StreamSound
from avizor_pipeline.models import JobModel
from avizor_pipeline.plan import Plan, planned_shards
from avizor_pipeline.section_join import SectionJoin
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.output_folder import Finished, claimed, commits_of
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.section_files import UNKNOWN, FinishedSections, SectionRecord
from avizor_pipeline.watch import WAITS, Watch

_log = logging.getLogger(__name__)


class _SaidWait(Watch):
    """Says once when the engine is away, and when it is back."""

    @property
    def waits(self) -> bool:
        """See Watch."""
        return super().waits

    @waits.setter
    def waits(self, waits: bool) -> None:
        if waits != super().waits:
            _log.warning(wait_line(waits))
        self.numbers[WAITS] = int(waits)


@dataclass
class StreamJob:
    """Holds a job over standard input.

    source: of all that comes. every_s: seconds after which rows are written. recording_s: seconds of sound after which a new
    recording begins. engine_wait_s: see EngineWait. on_look: is called some times a second, with whether samples came since.
    on_section: is called with each section that counts.
    """

    settings: JobSettings
    out: OutputPath
    models: Sequence[JobModel]
    input: PcmInput
    source: str
    every_s: float
    recording_s: float
    engine_wait_s: float
    calibrations: CalibrationWatch
    stop: StopRequest
    on_look: Callable[[bool], None]
    on_section: Callable[[SectionRecord], None]

    def run(self, plan: Plan, on_resume: Callable[[Finished], None]) -> Generator[Commit, None, None]:
        """Yield the commit of each recording, those of earlier runs first. plan, on_resume: see `run_live`.

        A recording that an earlier run has begun, and not ended, gets its row in `recordings` now. Raises AvizorError.
        """
        with claimed(self.out, self.settings, plan.for_folder) as finished:
            on_resume(finished)
            yield from commits_of(self.out, finished.shards)
            join = SectionJoin(self.out, self.settings, self.models, finished.sections)
            done = set(finished.shards)
            for commit in join.complete(planned_shards(self.settings, self.out, plan)):
                done.add(commit.shard)
                yield commit
            for shard in planned_shards(self.settings, self.out, plan):
                if shard.id not in done:  # it was killed before its first section
                    yield join.commit(shard, FinishedSections(UNKNOWN))
            yield from self._recordings(join, len(plan.rounds), finished.still_held)

    def _recordings(self, join: SectionJoin, rounds: int, still_held: Callable[[], None]) -> Iterator[Commit]:
        context = open_context(self.settings, self.out, EngineWait(self.engine_wait_s, _SaidWait()))
        while (format := self.input.format) is None:
            if self.stop:
                return
            if not self.input.wait(0.2) and self.input.ended:
                _log.warning("standard input ended before any sound came")
                return
            self.on_look(False)
        rates = [model.format.sample_rate for model in self.models if model.format]
        PcmSamples(b"", format.format, format.sample_rate, format.channels).check(rates)
        came, due = 0, 0.0

        def pulse() -> bool:
            nonlocal came, due
            self.on_look(sound.taken > came)
            came = sound.taken
            if time.monotonic() >= due:
                still_held()
                recording.write()
                due = time.monotonic() + self.every_s
            return not self.stop and self.calibrations.pins() == recording.pins

        sound = StreamSound(self.input, format, round(self.recording_s * format.sample_rate), pulse)
        while not self.stop and not sound.ended:
            if not sound.wait():
                self.on_look(False)
                continue
            before = sound.taken
            pins, entry = self.calibrations.pins(), stream_entry(self.source, datetime.now(UTC))
            recording = StreamRecording(context.judged_by(pins), entry, rounds + 1, pins, self.on_section)
            due = time.monotonic() + self.every_s
            try:
                recording.run(sound)
            except (MediaError, OSError) as error:
                yield from recording.close(join)
                if not sound.broken and (sound.taken == before or isinstance(error, OSError)):
                    raise
                if sound.taken > before:
                    _log.warning("the end of the stream has no window: %s", error)
            else:
                yield from recording.close(join)
            if sound.broken:
                raise sound.broken
            rounds += bool(recording.finished.done)
