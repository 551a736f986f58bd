"""Run one shard from files to committed parts: decode, cut into windows, infer in batches across files, judge, write."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.arrays import Array
from avizor_inference.classify import MeanProbabilities
from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import AvizorError, DecoderEnded, InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.decode import stream_rows
from avizor_inference.items.file_access import path_of
from avizor_inference.items.kinds.base import Content, Row, Span
from avizor_pipeline.batching import Batch
from avizor_pipeline.job_context import JobContext, RowKey
from avizor_pipeline.models import JobModel, nothing_takes
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
from avizor_pipeline.sinks.reconstruction_files import ReconstructionFiles
from avizor_pipeline.watch import Watch, decoder_failed


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
    """Processes one shard. Call `run` once.

    lost: files that are not read, because processes that read them have ended; uri -> what happened. watch: takes note of
    which file is read.
    """

    def __init__(
        self, context: JobContext, shard: Shard, lost: Mapping[str, str] | None = None, watch: Watch | None = None
    ) -> None:
        self._context, self._shard = context, shard
        self._lost, self._watch = lost or {}, watch or Watch()
        self._alpha, self._confidence = context.settings.alpha, context.settings.confidence
        self._writer = PartWriter(context.out, shard.id, context.rows_in_group)
        self._files = ReconstructionFiles(path_of(context.settings.reconstructions))
        self._totals: dict[tuple[str, str], ItemTotals] = defaultdict(ItemTotals)  # by model and uri
        self._levels: dict[tuple[str, str], Level] = {}  # by model and uri; models that share a decoder share it
        self._items: dict[str, Entry] = {}  # by uri, in the order in which they were read
        self._unread: set[str] = set()  # uris

    def run(self) -> Commit:
        """Process the shard, write its parts and commit it. Raises JobError, EngineError."""
        for place, entry in enumerate(self._shard.entries):
            self._read(place, entry)
        for model in self._context.models:
            for batch in self._context.batchers[model.name].finish():
                self._take(model, batch)
        return self._commit()

    def _read(self, number: int, entry: Entry) -> None:
        """Stream one file into the batches; a file that cannot be read becomes a dead letter."""
        try:
            if message := self._lost.get(entry.uri):
                raise DecoderEnded(message)
            for model, item, row in self._watch.follow(number, self._rows(entry)):
                for batch in self._context.batchers[model.name].push(RowKey(item, row.span), row.values):
                    self._take(model, batch)
        except (MediaError, InvalidInput, DecoderEnded) as error:  # of the entry: the items before are good
            for item in entry.each():
                if item.uri not in self._items:
                    self._lose(item, error)

    def _rows(self, entry: Entry) -> Iterator[tuple[JobModel, Entry, Row]]:
        """Yield the rows of the items of an entry; an item that cannot be read becomes a dead letter."""
        for item, content in self._context.source.open(entry):
            self._items[item.uri] = item
            if item.uri not in self._unread:
                try:
                    yield from _rows(self._context, item, content, self._levels)
                except (MediaError, InvalidInput) as error:
                    self._lose(item, error)
                except (AvizorError, MemoryError):
                    raise
                except Exception as error:
                    self._lose(item, decoder_failed(error))

    def _lose(self, item: Entry, error: MediaError | InvalidInput | DecoderEnded) -> None:
        if lacks_memory(error):
            raise MemoryError from error  # of the worker: another one may have enough for the file
        self._unread.add(item.uri)
        self._writer.add("dead_letters", dead_letter(item, error))

    def _take(self, model: JobModel, batch: Batch[RowKey]) -> None:
        """Add the results of windows to their items, and their rows to the table."""
        start = 0
        for _, keys in groupby(batch.keys, key=attrgetter("entry.uri")):
            (entry, *_), spans = zip(*keys, strict=True)
            self._take_windows(model, entry, spans, [output[start : start + len(spans)] for output in batch.outputs])
            start += len(spans)

    def _take_windows(self, model: JobModel, entry: Entry, spans: Sequence[Span | None], outputs: Sequence[Array]) -> None:
        """Do this for windows of one item. outputs: each output of the model for them, [windows, ...]."""
        results = outputs[0]  # probabilities[windows, classes], or score[windows, 1]
        totals = self._totals[model.name, entry.uri]
        totals.is_short = model.spec.is_short(spans[0])
        columns = window_columns(model, entry, spans)
        if model.embeds:
            columns["embedding"] = list(outputs[1].reshape(len(spans), -1))
        if model.reconstructs:
            self._files.add(model.name, model.spec, entry, spans, outputs[-1])
        if model.labels:
            totals.probabilities += MeanProbabilities.of(results)
            columns |= class_columns(model.labels, results, model.thresholds, self._context.settings.top_k)
        else:
            scores = results[:, 0]
            totals.score += ItemScore.of(scores)
            judge = self._context.judges.get(model.name)
            columns |= score_columns(scores, judge, entry.source, self._alpha, is_short=totals.is_short)
            if "p_value" in columns:
                columns["calibration_id"] = [model.choice.calibration_id] * len(spans)
        self._writer.add_columns("windows", columns)

    def _commit(self) -> Commit:
        self._files.close([model.name for model in self._context.models if model.reconstructs], self._unread)
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
        if partly := {uri for _, uri in self._totals if uri in self._unread}:
            self._writer.drop("windows", partly)  # a file that is a dead letter has no other rows
        counts = self._writer.counts
        low_rate, several_channels, padded = self._surprises()
        commit = Commit(
            shard=self._shard.id,
            files=self._shard.items,
            windows=counts["windows"],
            dead_letters=counts["dead_letters"],
            clipped=len(loud),
            peak=max((level.peak for level in loud.values()), default=0.0),
            low_rate=low_rate,
            several_channels=several_channels,
            padded=padded,
            rows=counts,
            sha256=self._writer.close(),
            labels=labels,
            sources=sources,
        )
        self._writer.commit(commit)
        return commit

    def _surprises(self) -> tuple[int, int, int]:
        """Count the files of a low rate, of several channels, and the padded ones. See Commit."""
        formats = {model.name: model.format for model in self._context.models}
        low, several, padded = set(), set(), set()
        for (name, uri), level in self._levels.items():
            if (format := formats[name]) and uri not in self._unread:
                if level.sample_rate < (format.sample_rate or 0) and level.sample_rate:
                    low.add(uri)
                if level.channels > format.channels:
                    several.add(uri)
                if self._totals[name, uri].is_short:
                    padded.add(uri)
        return len(low), len(several), len(padded)

    def _item_rows(self, model: JobModel) -> Iterator[TableRow]:
        """Yield a row for each item that the model takes and that was read to its end."""
        judge = self._context.judges.get(model.name)
        for entry in self._items.values():
            totals = self._totals.get((model.name, entry.uri))
            if totals is None or entry.uri in self._unread:
                continue
            row = item_row(model, entry, totals.windows, self._levels[model.name, entry.uri])
            row["reconstruction"] = self._files.name(model.name, entry.uri)
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


def read_only(context: JobContext, entries: Sequence[Entry], watch: Watch) -> None:
    """Do with these files all that a shard does, but write nothing: it shows whether a worker survives them."""
    for number, entry in enumerate(entries):
        with _lost():
            for model, item, row in watch.follow(number, _readable_rows(context, entry)):
                deque(context.batchers[model.name].push(RowKey(item, row.span), row.values), maxlen=0)
    for batcher in context.batchers.values():
        deque(batcher.finish(), maxlen=0)


def _readable_rows(context: JobContext, entry: Entry) -> Iterator[tuple[JobModel, Entry, Row]]:
    for item, content in context.source.open(entry):
        with _lost():
            yield from _rows(context, item, content, {})


@contextmanager
def _lost() -> Iterator[None]:
    """Leave what cannot be read. Raises MemoryError."""
    try:
        yield
    except (MediaError, InvalidInput) as error:
        if lacks_memory(error):
            raise MemoryError from error


def _rows(
    context: JobContext, item: Entry, content: Content, levels: dict[tuple[str, str], Level]
) -> Iterator[tuple[JobModel, Entry, Row]]:
    """Yield the rows of an item: the model that takes it, the item, and the row. Note its level.

    Raises MediaError, InvalidInput.
    """
    models = [model for model in context.models if model.takes(content)]
    if not models:
        raise InvalidInput(nothing_takes(content, context.models))
    level = Level()
    for model in models:
        levels[model.name, item.uri] = level
    for place, row in stream_rows(content, [model.spec for model in models], level):
        yield models[place], item, row
