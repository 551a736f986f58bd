"""Run one shard from files to committed parts: decode, cut into windows, infer in batches across files, judge, write."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.classify import MeanProbabilities
from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.decode import stream_rows
from avizor_pipeline.batching import Outputs
from avizor_pipeline.job_context import JobContext, RowKey
from avizor_pipeline.models import JobModel
from avizor_pipeline.rows import (
    TableRow,
    class_columns,
    count_by_source,
    counted_labels,
    dead_letter,
    item_row,
    mean_class_columns,
    score_columns,
    verdict_columns,
    window_row,
)
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.part_files import Commit, PartWriter


@dataclass
class ItemTotals:
    """Holds what one model says about one item so far, over all windows and channels. It does not grow with the item.

    score: of an autoencoder. probabilities: of a classifier. is_short: whether the item is shorter than the model's window.
    """

    score: ItemScore = field(default_factory=ItemScore)
    probabilities: MeanProbabilities = field(default_factory=MeanProbabilities)
    is_short: bool = False

    @property
    def windows(self) -> int:
        """Return the number of windows."""
        return self.score.windows or self.probabilities.windows


class ShardRun:
    """Processes one shard. Call `run` once."""

    def __init__(self, context: JobContext, shard: Shard) -> None:
        self._context, self._shard = context, shard
        self._alpha, self._confidence = context.settings.alpha, context.settings.confidence
        self._writer = PartWriter(context.out, shard.id)
        self._totals: dict[tuple[str, str], ItemTotals] = defaultdict(ItemTotals)  # by model and uri
        self._levels: dict[str, Level] = {}  # by uri
        self._unread: set[str] = set()  # uris

    def run(self) -> Commit:
        """Process the shard, write its parts and commit it. Raises JobError, EngineError."""
        for entry in self._shard.entries:
            self._read(entry)
        for model in self._context.models:
            for key, result in self._context.batchers[model.name].finish():
                self._take(model, key, result)
        return self._commit()

    def _read(self, entry: Entry) -> None:
        """Stream one file into the batches; a file that cannot be read becomes a dead letter."""
        level = self._levels[entry.uri] = Level()
        models = self._context.models
        try:
            content = self._context.source.open(entry)
            for place, row in stream_rows(content, [model.spec for model in models], level):
                model, span = models[place], row.span
                assert span is not None  # every model of a job takes recordings
                for key, result in self._context.batchers[model.name].push(RowKey(entry, span), row.values):
                    self._take(model, key, result)
        except MediaError as error:
            self._unread.add(entry.uri)
            self._writer.add("dead_letters", dead_letter(entry, error))

    def _take(self, model: JobModel, key: RowKey, outputs: Outputs) -> None:
        """Add one window's result to its item, and its row to the table."""
        totals = self._totals[model.name, key.entry.uri]
        totals.is_short = key.span.length < model.format.window
        row = window_row(model, key.entry, key.span)
        result = outputs[0]
        if model.embeds:
            row["embedding"] = outputs[1].ravel()
        if model.labels:
            totals.probabilities += MeanProbabilities.of(result[None])
            row |= class_columns(model.labels, result, model.thresholds, self._context.settings.top_k)
        else:
            totals.score += ItemScore.of(result)
            judge = self._context.judges.get(model.name)
            row |= score_columns(result, judge, key.entry.source, self._alpha, is_short=totals.is_short)
            if "p_value" in row:
                row["calibration_id"] = model.choice.calibration_id
        self._writer.add("windows", row)

    def _commit(self) -> Commit:
        labels: dict[str, dict[str, int]] = {}
        sources = {}
        for model in self._context.models:
            rows = list(self._item_rows(model))
            for row in rows:
                self._writer.add("recordings", row)
            labels[model.name] = dict(sorted(Counter(label for row in rows for label in counted_labels(row)).items()))
            short = {uri for (name, uri), totals in self._totals.items() if name == model.name and totals.is_short}
            sources[model.name] = count_by_source(rows, short)
        loud = [level for uri, level in self._levels.items() if level.beyond and uri not in self._unread]
        counts = self._writer.counts
        commit = Commit(
            shard=self._shard.id,
            files=len(self._shard.entries),
            windows=counts["windows"],
            dead_letters=counts["dead_letters"],
            clipped=len(loud),
            peak=max((level.peak for level in loud), default=0.0),
            rows=counts,
            sha256=self._writer.close(),
            labels=labels,
            sources=sources,
        )
        self._writer.commit(commit)
        return commit

    def _item_rows(self, model: JobModel) -> Iterator[TableRow]:
        """Yield a row for each item that was read to its end."""
        judge = self._context.judges.get(model.name)
        for entry in self._shard.entries:
            if entry.uri in self._unread:
                continue
            totals = self._totals[model.name, entry.uri]
            row = item_row(model, entry, totals.windows, self._levels[entry.uri])
            if model.labels:
                row |= mean_class_columns(model.labels, totals.probabilities.value, model.thresholds)
            elif judge is None:
                row |= {"score": totals.score.value}
            else:
                judged = verdict(judge, entry.source, totals.score, is_short=totals.is_short)
                row |= verdict_columns(judged, self._alpha, self._confidence)
                if "p_value" in row:
                    row["calibration_id"] = model.choice.calibration_id
            yield row
