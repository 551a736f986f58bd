"""Run what a worker is given: a shard, or one section of a long file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from avizor_inference.judged_rows import TableRow
from avizor_pipeline.job_context import JobContext
from avizor_pipeline.shard_run import ShardRun
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.section_files import SectionRecord, SectionTotals, write_record
from avizor_pipeline.watch import Watch


def run_task(
    context: JobContext, shard: Shard, lost: Mapping[str, str] | None = None, watch: Watch | None = None
) -> Callable[[], Commit | SectionRecord]:
    """Process a shard or a section, and return what makes it count. See ShardRun."""
    context = context.judged_by(shard.calibrations)
    if shard.is_section:
        return SectionRun(context, shard, lost, watch).run_section()
    return ShardRun(context, shard, lost, watch).run()


class SectionRun(ShardRun):
    """Processes one section of a long file: writes its windows, and records what is added up over all sections."""

    _letter: TableRow | None = None

    def run_section(self) -> Callable[[], SectionRecord]:
        """Process the section, and return what makes it count. Raises JobError, EngineError."""
        self.process()
        return self.sealed()

    def sealed(self) -> Callable[[], SectionRecord]:
        """Write the part of what was processed, and return what makes it count. Both raise JobError."""
        shard, (entry,) = self._shard, self._shard.entries
        if self._letter and self._writer.counts["windows"]:
            self._writer.drop("windows", {entry.uri})
        windows = self._writer.counts["windows"]
        record = SectionRecord(
            id=shard.id,
            shard=shard.whole_id,
            number=shard.section.number,
            of=shard.section.of,
            windows=windows,
            sha256=self._writer.finish(),
            models={} if self._letter else dict(self._model_totals(entry.uri)),
            dead_letter=self._letter,
        )
        return partial(self._record, record)

    def _record(self, record: SectionRecord) -> SectionRecord:
        self._writer.publish()
        write_record(self._context.out, record)
        return record

    def _model_totals(self, uri: str) -> Mapping[str, SectionTotals]:
        totals = {}
        for (model, _), level in self.totals.levels.items():
            score, probabilities = self.totals.of[model, uri].score, self.totals.of[model, uri].probabilities
            totals[model] = SectionTotals(
                level=level,
                is_short=self.totals.of[model, uri].is_short,
                windows=score.windows or probabilities.windows,
                largest=score.largest,
                powers=score.powers,
                total=tuple(probabilities.total.tolist()) if probabilities.windows else (),
            )
        return totals

    def _keep(self, letter: TableRow) -> None:
        self._letter = self._letter or letter
