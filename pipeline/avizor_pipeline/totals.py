"""Add up what the models say of the items of a shard, and sum it up: rows of `recordings`, and the counts of a commit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import add

from avizor_inference.anomaly.drift import Tally, compared_items, tally
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import Verdict, verdict
from avizor_inference.classify import MeanProbabilities
from avizor_inference.items.audio import Level
from avizor_inference.items.dataset import Entry
from avizor_inference.judged_rows import TableRow, verdict_columns
from avizor_pipeline.models import JobModel
from avizor_pipeline.rows import count_by_source, counted_labels, item_row, mean_class_columns
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.part_files import Commit, PartWriter, SourceCount

# What items begin with. Sums are new objects, so that one of each will do.
_NO_SCORE, _NO_PROBABILITIES = ItemScore(), MeanProbabilities()


@dataclass
class ItemTotals:
    """Holds what one model says about one item so far, over all windows and channels. It does not grow with the item.

    score: of an autoencoder. probabilities: of a classifier. is_short: whether the item is shorter than the model's window.
    """

    score: ItemScore = _NO_SCORE
    probabilities: MeanProbabilities = _NO_PROBABILITIES
    is_short: bool = False

    @property
    def windows(self) -> int:
        """Return the number of windows."""
        return self.score.windows or self.probabilities.windows


class ShardTotals:
    """Holds what a shard came to so far, by model and item.

    of: by model and uri. levels: the same; models that share a decoder share it. items: by uri, in the order in which they were
    read. unread: uris of the items that could not be read; they have no row.
    """

    def __init__(self, settings: JobSettings, models: Sequence[JobModel], judges: Mapping[str, Judge]) -> None:
        self._settings, self._models, self._judges = settings, models, judges
        self.of: dict[tuple[str, str], ItemTotals] = defaultdict(ItemTotals)
        self.levels: dict[tuple[str, str], Level] = {}
        self.items: dict[str, Entry] = {}
        self.unread: set[str] = set()
        self._drift: dict[tuple[str, str], dict[int, Tally]] = defaultdict(dict)  # by model and source

    def finish(
        self, writer: PartWriter, shard: str, files: int, reconstruction: Callable[[str, str], str | None] = lambda *_: None
    ) -> Commit:
        """Write the rows of the items, finish the parts, and return the record with which the shard counts. Raises JobError.

        files: items of the shard. reconstruction: from a model and a uri to the file of the item's reconstruction.
        """
        labels: dict[str, dict[str, int]] = {}
        sources: dict[str, dict[str, SourceCount]] = {}
        for model in self._models:
            rows = list(self._item_rows(model, reconstruction))
            writer.add_rows("recordings", rows)
            labels[model.name] = dict(sorted(Counter(label for row in rows for label in counted_labels(row)).items()))
            short = {uri for (name, uri), totals in self.of.items() if name == model.name and totals.is_short}
            sources[model.name] = {
                source: count.model_copy(update={"drift": self._drift_of(model, source)})
                for source, count in count_by_source(rows, short).items()
            }
        loud = {uri: level for (_, uri), level in self.levels.items() if level.beyond and uri not in self.unread}
        if partly := {uri for _, uri in self.of if uri in self.unread}:
            writer.drop("windows", partly)  # a file that is a dead letter has no other rows
        low_rate, several_channels, padded = self._surprises()
        return Commit(
            shard=shard,
            files=files,
            windows=writer.counts["windows"],
            dead_letters=writer.counts["dead_letters"],
            clipped=len(loud),
            peak=max((level.peak for level in loud.values()), default=0.0),
            low_rate=low_rate,
            several_channels=several_channels,
            padded=padded,
            rows=writer.counts,
            sha256=writer.finish(),
            labels=labels,
            sources=sources,
        )

    def _surprises(self) -> tuple[int, int, int]:
        """Count the files of a low rate, of several channels, and the padded ones. See Commit."""
        formats = {model.name: model.format for model in self._models}
        low, several, padded = set(), set(), set()
        for (name, uri), level in self.levels.items():
            if (format := formats[name]) and uri not in self.unread:
                if level.sample_rate < (format.sample_rate or 0) and level.sample_rate:
                    low.add(uri)
                if level.channels > format.channels:
                    several.add(uri)
                if self.of[name, uri].is_short:
                    padded.add(uri)
        return len(low), len(several), len(padded)

    def _item_rows(self, model: JobModel, reconstruction: Callable[[str, str], str | None]) -> Iterator[TableRow]:
        """Yield a row for each item that the model takes and that was read to its end."""
        judge, settings = self._judges.get(model.name), self._settings
        for entry in self.items.values():
            totals = self.of.get((model.name, entry.uri))
            if totals is None or entry.uri in self.unread:
                continue
            row = item_row(model, entry, totals.windows, self.levels[model.name, entry.uri])
            row["reconstruction"] = reconstruction(model.name, entry.uri)
            if model.labels:
                row |= mean_class_columns(model.labels, totals.probabilities.value, model.thresholds)
            elif judge is None:
                row |= {"score": totals.score.value}
            else:
                judged = verdict(judge, entry.source, totals.score, is_short=totals.is_short)
                self._note_drift(model, entry.source, judged)
                row |= verdict_columns(judged, settings.alpha, settings.confidence)
                if "p_value" in row:
                    row["calibration_id"] = model.choice.calibration_id
            yield row

    def _drift_of(self, model: JobModel, source: str) -> dict[str, dict[int, Tally]]:
        tallies, calibration = self._drift.get((model.name, source)), model.choice.calibration_id
        return {calibration: tallies} if tallies and calibration else {}

    def _note_drift(self, model: JobModel, source: str, judged: Verdict) -> None:
        """Take note of what the verdict on an item tells of drift."""
        if judged.p_value is None or model.calibration is None or not (count := compared_items(model.calibration, judged)):
            return
        of_source, of_item = self._drift[model.name, source], tally(judged.p_value, judged.low_p_value, count)
        of_source[count] = tuple(map(add, of_source[count], of_item)) if count in of_source else of_item
