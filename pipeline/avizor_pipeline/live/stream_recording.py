"""Run models over one recording of a stream, and write its windows in sections, as they come.

A recording is a shard of one file in a round of its own. Its sections are those of a long file (`section_join`), of which one
is written every few seconds; the commit record then takes over their parts. So what was written stays if the process is
killed: the next run puts the sections that are there together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from avizor_inference.items.audio import Level, windows_of_sound
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.base import Row, Span
from avizor_inference.items.sections import Section
from avizor_inference.items.standard_input import STANDARD_INPUT
from avizor_pipeline.job_context import JobContext, RowKey
from avizor_pipeline.live.calibration_watch import Pins
from avizor_pipeline.live.live_rounds import add_round
from avizor_pipeline.live.stream_sound import StreamSound
from avizor_pipeline.model_groups import ModelGroup
from avizor_pipeline.section_join import SectionJoin
from avizor_pipeline.section_run import SectionRun
from avizor_pipeline.sharding import shards
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.section_files import UNKNOWN, FinishedSections, SectionRecord, section_id


def stream_entry(source: str, began: datetime) -> Entry:
    """Return the entry of a recording of a stream, which is named by its source and by when it began."""
    uri = f"{source}/{began.astimezone(UTC):%Y-%m-%dT%H-%M-%S.%fZ}.pcm"
    return Entry(uri, str(Path(STANDARD_INPUT) / uri), source, 0, int(began.timestamp() * 1e9))


class _StreamSection(SectionRun):
    """Takes windows as they come."""

    def push(self, group: ModelGroup, entry: Entry, row: Row) -> None:
        """Take in one window for the models of a group. Raises EngineError."""
        for batch in self._context.batchers[group.name].push(RowKey(entry, row.span), row.values):
            self._take(group, batch)

    def finish(self) -> int:
        """Run what is left of the windows; return how many rows there are. Raises EngineError."""
        for group in self._context.groups:
            for batch in self._context.batchers[group.name].finish():
                self._take(group, batch)
        return self._writer.counts["windows"]


@dataclass
class StreamRecording:
    """Does one recording. Call `run` once, and then `close`.

    context: with the calibrations that judge. number: of the round. on_section: is called with each section that counts.
    """

    context: JobContext
    entry: Entry
    number: int
    pins: Pins
    on_section: Callable[[SectionRecord], None] = lambda _record: None
    level: Level = field(default_factory=Level)
    finished: FinishedSections = field(default_factory=lambda: FinishedSections(UNKNOWN))

    def __post_init__(self) -> None:
        (self.shard,) = shards(self.context.settings, [self.entry], self.number, self.pins)
        self._section = self._next_section()

    def run(self, sound: StreamSound) -> None:
        """Take in the sound to its end. Raises MediaError, EngineError, JobError."""
        groups = self.context.groups
        formats = list(dict.fromkeys(model.format for group in groups for model in group.models[:1] if model.format))
        windows = windows_of_sound(sound, formats, self.level, channels=self.context.settings.channels)
        for format, window in windows:
            row = Row(window.samples, Span(window.channel, window.start_sample, window.length))
            for group in groups:
                if group.models[0].format == format:
                    self._section.push(group, self.entry, row)

    def write(self) -> None:
        """Make what came since the last call count, if it is a window. Raises EngineError, JobError."""
        if not self._section.finish():
            return
        if not self.finished.done:
            add_round(self.context.out, self.number, [self.entry], self.pins)
        record = self._section.sealed()()
        self.finished.add(record)
        self.on_section(record)
        self.level.samples, self.level.beyond, self.level.peak = 0, 0, 0.0  # the next section has its own
        self._section = self._next_section()

    def close(self, join: SectionJoin) -> Iterator[Commit]:
        """Write what is left and yield the commit, if there was a window. Raises EngineError, JobError."""
        self.write()
        if self.finished.done:
            yield join.commit(self.shard, self.finished)

    def _next_section(self) -> _StreamSection:
        number = len(self.finished.done)
        cut = replace(self.shard, id=section_id(self.shard.id, number), section=Section(number, UNKNOWN))
        section = _StreamSection(self.context, cut)
        for model in self.context.models:
            section.totals.levels[model.name, self.entry.uri] = self.level
        return section
