"""Put the sections of long files together: when all of a file are done, its shard is committed with one row in `recordings`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.classify import MeanProbabilities
from avizor_inference.errors import JobError, MediaError
from avizor_inference.items.audio import Level
from avizor_pipeline.models import JobModel, judges_of
from avizor_pipeline.rows import dead_letter
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath, each_at_once
from avizor_pipeline.sinks.part_files import Commit, PartWriter
from avizor_pipeline.sinks.section_files import (
    FinishedSections,
    SectionRecord,
    read_record,
    record_path,
    remove_parts,
    remove_sections,
    section_id,
)
from avizor_pipeline.sinks.write_errors import writing
from avizor_pipeline.totals import ShardTotals


@dataclass
class _LongFile:
    """Holds a long file while its sections are being done. running: sections that were handed out and have not come back."""

    shard: Shard
    finished: FinishedSections
    running: int = 0


@dataclass
class SectionJoin:
    """Hands out what is left of shards, and commits a long file when all that was handed out of it is done.

    finished: what earlier runs have done of long files, by shard. on_section: is called with each section that is done.
    """

    out: OutputPath
    settings: JobSettings
    models: Sequence[JobModel]
    finished: Mapping[str, FinishedSections]
    on_section: Callable[[SectionRecord], None] = lambda _record: None
    _files: dict[str, _LongFile] = field(default_factory=dict)

    def complete(self, shards: Iterator[Shard]) -> Iterator[Commit]:
        """Commit the files of which all sections are done: the job was stopped before it did that."""
        for shard in shards if self.finished else ():
            if shard.id in self.finished and self.finished[shard.id].is_complete:
                yield self.commit(shard, self.finished[shard.id])

    def tasks(self, shard: Shard) -> Iterator[Shard]:
        """Yield what is left of a shard: itself, or its sections."""
        if shard.sections == 1:
            yield shard
            return
        file = _LongFile(shard, self.finished.get(shard.id) or FinishedSections(shard.sections))
        self._files[shard.id] = file
        for number in file.finished.left:
            file.running += 1
            yield shard.cut(number)

    def take(self, done: Commit | SectionRecord) -> Iterator[Commit]:
        """Take in what a worker has done, and yield the commit of a shard if this was the last of it."""
        if isinstance(done, Commit):
            yield done
            return
        self.on_section(done)
        file = self._files[done.shard]
        file.running -= 1
        file.finished.add(done)
        # A section that still runs after one that could not be read would leave rows of a dead file behind.
        if not file.running and file.finished.is_complete:
            del self._files[done.shard]
            yield self.commit(file.shard, file.finished)

    def commit(self, shard: Shard, finished: FinishedSections) -> Commit:
        """Commit a file of which all sections are done. If one could not be read, the whole file is a dead letter."""
        (entry,) = shard.entries
        models, dead, sections = [model.judged_by(shard.calibrations) for model in self.models], finished.dead, finished.all
        totals, writer = ShardTotals(self.settings, models, judges_of(models)), PartWriter(self.out, shard.id)
        with writing(self.out):
            if dead is None:
                totals.items[entry.uri] = entry
                for _, record in each_at_once(self.out, sections, partial(self._record, shard)):
                    _add(totals, entry.uri, record)
                    writer.take_part("windows", record.windows, record.sha256)
                if not sections:  # of a stream
                    writer.add("dead_letters", dead_letter(entry, MediaError("it ended before its first rows were written")))
                    totals.unread.add(entry.uri)
            else:
                letter = self._record(shard, dead).dead_letter
                assert letter  # or it is not dead
                writer.add("dead_letters", letter)
                remove_parts(self.out, shard.id, sections)
            commit = writer.commit(totals.finish(writer, shard.id, files=1))
            remove_sections(self.out, shard.id, sections)
        return commit

    def _record(self, shard: Shard, number: int) -> SectionRecord:
        id = section_id(shard.id, number)
        if record := read_record(self.out, id):
            return record
        raise JobError(f"{record_path(self.out, id)} is not what was written any more; run the same command again")


def _add(totals: ShardTotals, uri: str, record: SectionRecord) -> None:
    for name, part in record.models.items():
        of, level = totals.of[name, uri], totals.levels.setdefault((name, uri), Level())
        if part.total:
            of.probabilities += MeanProbabilities(part.windows, np.array(part.total))
        else:
            of.score += ItemScore(part.windows, part.largest, part.powers)
        of.is_short |= part.is_short
        level.take_in(part.level)
