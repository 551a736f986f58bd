"""Run one shard from files to committed parts: decode, cut into windows, infer in batches across files, judge, write."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.arrays import Array
from avizor_inference.classify import MeanProbabilities
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.decode import stream_rows
from avizor_inference.items.kinds.base import Content, Span
from avizor_pipeline.batching import Batch
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
    window_columns,
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
        self._levels: dict[tuple[str, str], Level] = {}  # by model and uri; models that share a decoder share it
        self._unread: set[str] = set()  # uris

    def run(self) -> Commit:
        """Process the shard, write its parts and commit it. Raises JobError, EngineError."""
        for entry in self._shard.entries:
            self._read(entry)
        for model in self._context.models:
            for batch in self._context.batchers[model.name].finish():
                self._take(model, batch)
        return self._commit()

    def _read(self, entry: Entry) -> None:
        """Stream one file into the batches; a file that cannot be read becomes a dead letter."""
        try:
            for item, content in self._context.source.open(entry):
                self._stream(item, content)
        except (MediaError, InvalidInput) as error:
            self._unread.add(entry.uri)
            self._writer.add("dead_letters", dead_letter(entry, error))

    def _stream(self, item: Entry, content: Content) -> None:
        """Stream one item into the batches of the models that take it."""
        models = [model for model in self._context.models if model.takes(content)]
        level = Level()
        self._levels |= {(model.name, item.uri): level for model in models}
        for place, row in stream_rows(content, [model.spec for model in models], level):
            model = models[place]
            for batch in self._context.batchers[model.name].push(RowKey(item, row.span), row.values):
                self._take(model, batch)

    def _take(self, model: JobModel, batch: Batch[RowKey]) -> None:
        """Add the results of windows to their items, and their rows to the table."""
        start = 0
        for _, keys in groupby(batch.keys, key=attrgetter("entry.uri")):
            (entry, *_), spans = zip(*keys, strict=True)
            self._take_windows(model, entry, spans, batch.results[start : start + len(spans)])
            start += len(spans)

    def _take_windows(self, model: JobModel, entry: Entry, spans: Sequence[Span | None], results: Array) -> None:
        """Do this for windows of one item. results: probabilities[windows, classes], or score[windows, 1]."""
        totals = self._totals[model.name, entry.uri]
        totals.is_short = model.spec.is_short(spans[0])
        columns = window_columns(model, entry, spans)
        if model.labels:
            totals.probabilities += MeanProbabilities.of(results)
            columns |= class_columns(model.labels, results, model.thresholds)
        else:
            scores = results[:, 0]
            totals.score += ItemScore.of(scores)
            judge = self._context.judges.get(model.name)
            columns |= score_columns(scores, judge, entry.source, self._alpha, is_short=totals.is_short)
            if "p_value" in columns:
                columns["calibration_id"] = [model.choice.calibration_id] * len(spans)
        self._writer.add_columns("windows", columns)

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
        loud = {uri: level for (_, uri), level in self._levels.items() if level.beyond and uri not in self._unread}
        counts = self._writer.counts
        commit = Commit(
            shard=self._shard.id,
            files=len(self._shard.entries),
            windows=counts["windows"],
            dead_letters=counts["dead_letters"],
            clipped=len(loud),
            peak=max((level.peak for level in loud.values()), default=0.0),
            rows=counts,
            sha256=self._writer.close(),
            labels=labels,
            sources=sources,
        )
        self._writer.commit(commit)
        return commit

    def _item_rows(self, model: JobModel) -> Iterator[TableRow]:
        """Yield a row for each item that the model takes and that was read to its end."""
        judge = self._context.judges.get(model.name)
        for entry in self._shard.entries:
            totals = self._totals.get((model.name, entry.uri))
            if totals is None or entry.uri in self._unread:
                continue
            row = item_row(model, entry, totals.windows, self._levels[model.name, entry.uri])
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
