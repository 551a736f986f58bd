"""One shard from files to committed parts: decode, window, infer in batches across files, judge, write."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.judge import recordings_needed
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine
from avizor_inference.engines.open import EMBEDDED
from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level, windows_of
from avizor_inference.items.files import path_of
from avizor_inference.items.windows import Window
from avizor_pipeline.batching import Batcher
from avizor_pipeline.models import JobModel
from avizor_pipeline.rows import classified, count_by_source, dead_letter, window_row
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shards import Recording, Shard
from avizor_pipeline.sinks.parts import Commit, PartWriter, SourceCount

# A server is kept busy while this worker decodes.
REMOTE_BATCHES_IN_FLIGHT = 4


@dataclass
class _Heard:
    """What one model said of one recording so far, over all windows and channels. It does not grow with the recording."""

    score: ItemScore = field(default_factory=ItemScore)
    probabilities: Array = field(default_factory=lambda: np.zeros(()))  # sum over the windows, float64[classes]
    windows: int = 0
    is_short: bool = False  # shorter than the model's window, and filled up


class Worker:
    """Works off shards one after another with engines that stay open."""

    def __init__(self, settings: JobSettings, out: Path, engine: Engine, models: Sequence[JobModel]) -> None:
        self._settings, self._out, self._models = settings, out, models
        in_flight = 1 if settings.engine == EMBEDDED else REMOTE_BATCHES_IN_FLIGHT
        self._batchers = {model.name: Batcher(engine, model, model.choice.batch_size, in_flight) for model in models}

    def run(self, shard: Shard) -> Commit:
        """Process a shard and commit it."""
        pass_ = _ShardPass(self, shard)
        for recording in shard.recordings:
            pass_.read(recording)
        return pass_.finish()

    def writer(self, shard: Shard) -> PartWriter:
        """A writer for the shard's parts."""
        return PartWriter(self._out, shard.id)

    @property
    def batchers(self) -> dict[str, Batcher]:
        """The batcher of each model; empty between shards."""
        return self._batchers

    @property
    def alpha(self) -> float:
        """Promised share of false alarms."""
        return self._settings.alpha

    @property
    def models(self) -> Sequence[JobModel]:
        """The job's models, in its order."""
        return self._models


class _ShardPass:
    """The state of one shard while it is worked off."""

    def __init__(self, worker: Worker, shard: Shard) -> None:
        self._worker, self._shard = worker, shard
        self._writer = worker.writer(shard)
        self._formats = list({model.format: None for model in worker.models})
        self._heard: dict[tuple[str, str], _Heard] = defaultdict(_Heard)  # by model and uri
        self._unread: set[str] = set()
        self._levels: dict[str, Level] = {}  # by uri

    def read(self, recording: Recording) -> None:
        """Stream one file into the batches; a file that cannot be read becomes a dead letter."""
        level = self._levels[recording.uri] = Level()
        try:
            for format, window in windows_of(path_of(recording.uri), self._formats, level):
                for model in self._worker.models:
                    if model.format == format:
                        taker = partial(self._take, model, recording, window)
                        self._worker.batchers[model.name].add(window.samples, taker)
        except MediaError as error:
            self._unread.add(recording.uri)
            self._writer.add("dead_letters", dead_letter(recording, error))

    def finish(self) -> Commit:
        """Run what is left in the batches, judge the recordings, write and commit."""
        for batcher in self._worker.batchers.values():
            batcher.flush()
        labels: dict[str, Counter[str]] = {}
        sources: dict[str, dict[str, SourceCount]] = {}
        for model in self._worker.models:
            rows = [self._recording_row(model, each) for each in self._shard.recordings if each.uri not in self._unread]
            for row in rows:
                self._writer.add("recordings", row)
            labels[model.name] = Counter(row["label"] for row in rows if row.get("label"))
            short = {uri for (name, uri), heard in self._heard.items() if name == model.name and heard.is_short}
            sources[model.name] = count_by_source(rows, short)
        loud = [level for uri, level in self._levels.items() if level.beyond and uri not in self._unread]
        counts = self._writer.counts
        commit = Commit(
            shard=self._shard.id,
            files=len(self._shard.recordings),
            windows=counts["windows"],
            dead_letters=counts["dead_letters"],
            clipped=len(loud),
            peak=max((level.peak for level in loud), default=0.0),
            rows=counts,
            sha256=self._writer.close(),
            labels={model: dict(sorted(counter.items())) for model, counter in labels.items()},
            sources=sources,
        )
        self._writer.commit(commit)
        return commit

    def _take(self, model: JobModel, recording: Recording, window: Window, result: Array) -> None:
        heard = self._heard[model.name, recording.uri]
        heard.windows += 1
        heard.is_short = window.length < model.format.window
        row = window_row(model, recording, window)
        if model.labels:
            heard.probabilities = heard.probabilities + result.astype(np.float64)
            row |= classified(model.labels, result)
        else:
            heard.score += ItemScore.of(result)
            row |= self._judged(model, recording.source, result, heard.is_short)
        self._writer.add("windows", row)

    def _judged(self, model: JobModel, source: str, score: Array, is_short: bool) -> dict[str, Any]:
        """Columns of a window. score: float32[1]."""
        row: dict[str, Any] = {"score": float(score[0])}
        alpha, judge = self._worker.alpha, model.judge
        if judge is None or judge.count(is_short=is_short) < recordings_needed(alpha):
            return row
        (p_value,), (judged_by,) = judge.window_p_values(source, score, is_short=is_short)
        return row | {
            "p_value": float(p_value),
            "is_anomaly": bool(p_value <= alpha),
            "judged_by": judged_by,
            "calibration_id": model.choice.calibration_id,
        }

    def _recording_row(self, model: JobModel, recording: Recording) -> dict[str, Any]:
        heard = self._heard[model.name, recording.uri]
        row: dict[str, Any] = {"uri": recording.uri, "source": recording.source, "model": model.name, "windows": heard.windows}
        level = self._levels[recording.uri]
        row |= {"peak": level.peak, "clipped": level.share_beyond}
        if model.labels:
            mean = heard.probabilities / heard.windows
            best = int(np.argmax(mean))
            return row | {"label": model.labels[best], "probability": float(mean[best])}
        if model.judge is None:
            return row | {"score": heard.score.value}
        alpha = self._worker.alpha
        judged = verdict(model.judge, recording.source, heard.score, is_short=heard.is_short)
        row["score"] = judged.score
        if reason := judged.not_judged(alpha):
            return row | {"not_judged": reason}
        return row | {"p_value": judged.p_value, "is_anomaly": judged.is_anomaly(alpha), "judged_by": judged.judged_by}
