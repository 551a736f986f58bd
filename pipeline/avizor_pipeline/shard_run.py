"""Run one shard from files to finished parts: decode, cut into windows, infer in batches across files, judge, write."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import NamedTuple

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.arrays import Array
from avizor_inference.classify import MeanProbabilities
from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import AvizorError, DecoderEnded, EngineError, InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.items.decode import stream_rows
from avizor_inference.items.file_access import path_of
from avizor_inference.items.kinds.base import Content, FileContent, Row
from avizor_inference.items.object_files import check_store
from avizor_inference.judged_rows import Columns, TableRow, score_columns
from avizor_pipeline.batching import Batch
from avizor_pipeline.job_context import JobContext, RowKey
from avizor_pipeline.model_groups import ModelGroup
from avizor_pipeline.models import JobModel, nothing_takes
from avizor_pipeline.rows import (
    class_columns,
    dead_letter,
    window_columns,
)
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.part_files import Commit, PartWriter
from avizor_pipeline.sinks.reconstruction_files import ReconstructionFiles
from avizor_pipeline.totals import ShardTotals
from avizor_pipeline.watch import Watch, decoder_failed


class ShardRun:
    """Processes one shard. Call `run` once, and then what it returns.

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
        self.totals = ShardTotals(context.settings, context.models, context.judges)

    def run(self) -> Callable[[], Commit]:
        """Process the shard and write its parts; return what commits it, which needs nothing of the context.

        Raises EngineError, StoreUnavailable, JobError, of which the commit raises the last.
        """
        self.process()
        self._files.close([model.name for model in self._context.models if model.reconstructs], self.totals.unread)
        commit = self.totals.finish(self._writer, self._shard.id, self._shard.items, self._files.name)
        return partial(self._writer.commit, commit)

    def process(self) -> None:
        """Read the items and add up what the models say of them."""
        self._context.source.expect([entry for entry in self._shard.entries if entry.uri not in self._lost])
        for place, entry in enumerate(self._shard.entries):
            self._context.source.wait(entry)  # what a store takes is not counted as its decoder's time
            self._read(place, entry)
        for group in self._context.groups:
            for batch in self._context.batchers[group.name].finish():
                self._take(group, batch)

    def _read(self, number: int, entry: Entry) -> None:
        """Stream one file into the batches; a file that cannot be read becomes a dead letter."""
        try:
            if message := self._lost.get(entry.uri):
                raise DecoderEnded(message)
            for group, item, row in self._watch.follow(number, self._rows(entry)):
                for batch in self._context.batchers[group.name].push(RowKey(item, row.span), row.values):
                    self._take(group, batch)
        except (MediaError, InvalidInput, DecoderEnded) as error:  # of the entry: the items before are good
            for item in entry.each():
                if item.uri not in self.totals.items:
                    self._lose(item, error)

    def _rows(self, entry: Entry) -> Iterator[tuple[ModelGroup, Entry, Row]]:
        """Yield the rows of the items of an entry; an item that cannot be read becomes a dead letter."""
        for item, content in self._context.source.open(entry):
            self.totals.items[item.uri] = item
            if item.uri not in self.totals.unread:
                try:
                    yield from _rows(self._context, item, _section(self._shard, item, content), self.totals.levels)
                    _section(self._shard, item, content)  # changed meanwhile?
                except (MediaError, InvalidInput) as error:
                    self._lose(item, error)
                except (AvizorError, MemoryError):
                    raise
                except Exception as error:
                    self._lose(item, decoder_failed(error))

    def _lose(self, item: Entry, error: MediaError | InvalidInput | DecoderEnded | EngineError) -> None:
        if item.uri in self.totals.unread:
            return  # by another of its windows
        if lacks_memory(error):
            raise MemoryError from error  # of the worker: another one may have enough for the file
        check_store()
        self.totals.unread.add(item.uri)
        self._keep(dead_letter(item, error))

    def _keep(self, letter: TableRow) -> None:
        self._writer.add("dead_letters", letter)

    def _take(self, group: ModelGroup, batch: Batch[RowKey]) -> None:
        """Add the results of windows to their items, and their rows to the table."""
        if batch.error:
            self._lose(batch.keys[0].entry, batch.error)
            return
        start = 0
        for alike, of_alike in groupby(batch.keys, key=partial(_alike, group)):
            keys = list(of_alike)
            for model, outputs in group.each([output[start : start + len(keys)] for output in batch.outputs]):
                self._take_items(model, keys, outputs, is_short=alike.is_short)
                self._writer.add_columns("windows", self._columns(model, keys, outputs, alike))
            start += len(keys)

    def _take_items(self, model: JobModel, keys: Sequence[RowKey], outputs: Sequence[Array], *, is_short: bool) -> None:
        """Add results to the items that they are of. outputs: each output of the model for some windows, [windows, ...]."""
        start = 0
        for uri, of_item in groupby(keys, key=_uri):
            (entry, *_), spans = zip(*of_item, strict=True)
            windows = slice(start, start := start + len(spans))
            totals, results = self.totals.of[model.name, uri], outputs[0][windows]
            totals.is_short = is_short
            if model.reconstructs:
                self._files.add(model.name, model.spec, entry, spans, outputs[-1][windows])
            if model.labels:
                totals.probabilities += MeanProbabilities.of(results)
            else:
                totals.score += ItemScore.of(results[:, 0])

    def _columns(self, model: JobModel, keys: Sequence[RowKey], outputs: Sequence[Array], alike: _Alike) -> Columns:
        """Return the rows of windows that are alike. outputs: as for `_take_items`."""
        columns, results = window_columns(model, *zip(*keys, strict=True)), outputs[0]
        if model.embeds:
            columns["embedding"] = list(outputs[1].reshape(len(keys), -1))
        if model.labels:
            return columns | class_columns(model.labels, results, model.thresholds, self._context.settings.top_k)
        judge = self._context.judges.get(model.name)
        columns |= score_columns(results[:, 0], judge, alike.source, self._alpha, is_short=alike.is_short)
        if "p_value" in columns:
            columns["calibration_id"] = [model.choice.calibration_id] * len(keys)
        return columns


class _Alike(NamedTuple):
    """Says what windows have in common that are judged together, and have the same columns.

    uri: of their item, if several models have rows for it: these are next to each other. Else it is empty.
    """

    source: str
    is_short: bool
    is_recording: bool
    uri: str


def _alike(group: ModelGroup, key: RowKey) -> _Alike:
    uri = key.entry.uri if len(group.models) > 1 else ""
    return _Alike(key.entry.source, group.spec.is_short(key.span), key.span is not None, uri)


def _uri(key: RowKey) -> str:
    return key.entry.uri


def _section(shard: Shard, item: Entry, content: Content) -> Content:
    """Return what of an item the shard has. Raises MediaError if a file, which others read too, is not what was planned."""
    if not shard.is_section or not isinstance(content, FileContent):
        return content
    if item.as_it_is() != item:
        raise MediaError("the file was changed since it was listed; run again when it is finished")
    return content.of_section(shard.section)


def read_only(context: JobContext, shard: Shard, watch: Watch) -> None:
    """Do with the files all that a shard does, but write nothing: it shows whether a worker survives them."""
    for number, entry in enumerate(shard.entries):
        with _lost():
            for group, item, row in watch.follow(number, _readable_rows(context, shard, entry)):
                deque(context.batchers[group.name].push(RowKey(item, row.span), row.values), maxlen=0)
    for batcher in context.batchers.values():
        deque(batcher.finish(), maxlen=0)


def _readable_rows(context: JobContext, shard: Shard, entry: Entry) -> Iterator[tuple[ModelGroup, Entry, Row]]:
    for item, content in context.source.open(entry):
        with _lost():
            yield from _rows(context, item, _section(shard, item, content), {})


@contextmanager
def _lost() -> Iterator[None]:
    """Leave what cannot be read. Raises MemoryError, StoreUnavailable."""
    try:
        yield
    except (MediaError, InvalidInput) as error:
        if lacks_memory(error):
            raise MemoryError from error
        check_store()


def _rows(
    context: JobContext, item: Entry, content: Content, levels: dict[tuple[str, str], Level]
) -> Iterator[tuple[ModelGroup, Entry, Row]]:
    """Yield the rows of an item: the models that take it, the item, and the row. Note its level.

    Raises MediaError, InvalidInput.
    """
    groups = [group for group in context.groups if group.takes(content)]
    if not groups:
        raise InvalidInput(nothing_takes(content, context.models))
    level = Level()
    for group in groups:
        for model in group.models:
            levels[model.name, item.uri] = level
    for place, row in stream_rows(content, [group.spec for group in groups], level):
        yield groups[place], item, row
