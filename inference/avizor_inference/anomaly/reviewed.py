"""Take the scores of a finished job as a calibration, after people have looked at what it flagged.

A calibration has to be exchangeable with the normal items that come after it. What was looked at is not: it was chosen for
being unusual. So the calibration gets *every* item of the job, or of a uniform random sample of it (review_sample.py), but
those that were called abnormal. Whatever of the sample was flagged has to be answered first.

With n normal items, and m abnormal ones that were not flagged and so stay among them, a new normal item is flagged with a
probability of at most alpha (n + m + 1) / (n + 1). Doubtful items (called unsure, or called differently by two reviewers) stay
too: a large score in a calibration makes p-values larger, and never breaks the promise. Decision 75 has the argument.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from pydantic import BaseModel, ValidationError

from avizor_inference.anomaly.calibrate import ScoredItems, calibration_with
from avizor_inference.anomaly.engine_calibration import tie_with
from avizor_inference.anomaly.p_values import TIE
from avizor_inference.anomaly.review_sample import sample
from avizor_inference.engines.base import Engine, check_same_digest
from avizor_inference.engines.device import Device
from avizor_inference.error_text import reason
from avizor_inference.errors import CalibrationError, SettingsError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.windows import ChannelMode
from avizor_inference.job_results import JOB_FILE, ROWS_FORMAT, SUMMARY_FILE
from avizor_inference.repository.calibration import BySource, Calibration
from avizor_inference.repository.models import ModelVersion
from avizor_inference.review_answers import Answers, ItemKey
from avizor_inference.strict_json import validation_message

# Names in a message.
_NAMED = 3


class ReviewedModel(BaseModel):
    """Holds what job.json says of one model of a job."""

    name: str
    version: int
    sha256: str
    calibration_id: str | None = None
    tie: float = TIE
    engine: str | None = None


class ReviewedJob(BaseModel):
    """Holds what is needed here of job.json, which has more."""

    rows_format: int
    kept: bool = False
    models: tuple[ReviewedModel, ...]
    channels: ChannelMode = "each"
    engine: str = "ort"
    device: Device = "config"

    @classmethod
    def read(cls, results: Path) -> ReviewedJob:
        """Read a finished job. Raises SettingsError if there is none that can be read."""
        path = results / JOB_FILE
        try:
            job = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"{results} holds no results of `avizor batch` ({path}: {reason(error)})") from error
        except ValidationError as error:
            raise SettingsError(f"{path} cannot be read: {validation_message(error)}") from error
        if job.rows_format != ROWS_FORMAT:
            raise SettingsError(f"{results} was written by another version of Avizor; run the job again")
        if job.kept:
            raise SettingsError(
                f"{results} has what a gateway has kept because it was flagged, which is no random sample of normal items; run "
                "`avizor batch` over a sample of recordings, review that, and calibrate from it"
            )
        if not (results / SUMMARY_FILE).exists():
            raise SettingsError(
                f"the job in {results} has not finished, and what a job has done so far is no random sample of its items; run "
                "its command again"
            )
        return job

    def model(self, name: str) -> ReviewedModel:
        """Return one model of the job, whose verdicts can be answered. Raises CalibrationError."""
        found = next((model for model in self.models if model.name == name), None)
        if found is None:
            names = ", ".join(model.name for model in self.models)
            raise CalibrationError(f"the job ran {names}, and not {name!r}")
        if found.calibration_id is None:
            raise CalibrationError(
                f"{name!r} had no calibration in this job, so nothing was flagged and looked at; calibrate with --data first"
            )
        return found

    def engine_of(self, model: ReviewedModel) -> str:
        """Return the name of the engine that ran a model."""
        return model.engine or self.engine


@dataclass
class Review:
    """Says which items of a job a calibration is made from.

    kept: uri -> source of the items that stay. abnormal: left out. cleared: flagged, and called normal. doubtful: flagged,
    and called unsure or differently by two reviewers. not_judged: kept without a p-value. items: of the job.
    """

    items: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    windows: int = 0
    abnormal: int = 0
    cleared: int = 0
    doubtful: int = 0
    not_judged: int = 0
    unanswered: list[str] = field(default_factory=list)

    def take(self, item: _Item, verdict: str | None) -> None:
        """Count an item of the sample."""
        if verdict == "abnormal":
            self.abnormal += 1
            return
        if item.is_flagged and verdict is None:
            self.unanswered.append(item.uri)
        self.cleared += bool(item.is_flagged) and verdict == "normal"
        self.doubtful += verdict in ("unsure", "disagreed")
        self.not_judged += item.is_flagged is None
        self.windows += item.windows
        self.kept[item.uri] = item.source

    def lines(self) -> Iterator[str]:
        """Yield what was kept and left out, in words."""
        total = len(self.kept) + self.abnormal
        of = f"all {total}" if total == self.items else f"a random {total} of {self.items}"
        yield (
            f"{of} items of the job: {self.abnormal} called abnormal are left out, {self.cleared} flagged ones called normal "
            "are kept"
        )
        if self.doubtful:
            yield f"{self.doubtful} doubtful ones are kept: called unsure, or differently by two reviewers"
        if self.not_judged:
            yield f"{self.not_judged} that the job did not judge are kept: nobody was asked to look at them"


class _Item(NamedTuple):
    uri: str
    source: str
    windows: int
    is_flagged: bool | None


def review_of(results: Path, model: str, answers: Answers, size: int | None) -> Review:
    """Return which items of a model a calibration is made from. size: of the random sample; None for all.

    Raises CalibrationError if flagged ones of them are not answered, or if none is left.
    """
    chosen = None if size is None else sample((item.uri for item in _items(results, model)), size)
    review = Review()
    for item in _items(results, model):
        review.items += 1
        if chosen is None or item.uri in chosen:
            review.take(item, answers.verdict(ItemKey(item.uri, model)))
    if review.unanswered:
        named = ", ".join(islice(review.unanswered, _NAMED))
        more = ", ..." if len(review.unanswered) > _NAMED else ""
        less = "--review-sample N asks for fewer answers" if size is None else f"of the sample of {size}"
        raise CalibrationError(
            f"{len(review.unanswered)} flagged items are not answered ({less}): {named}{more}; answer them with `avizor "
            "review`, because what is abnormal must not count as normal"
        )
    if not review.kept:
        raise CalibrationError("no items to calibrate with: the job has none for this model, or all were called abnormal")
    return review


def calibration_of(engine: Engine, version: ModelVersion, job: ReviewedJob, results: Path, review: Review) -> Calibration:
    """Return a calibration with the scores that the job has written of the kept items.

    engine: that which ran the job. Raises CalibrationError if it has other scores, or if a kept item has a score that is not
    finite or fewer windows than it should; VersionRefused if the engine serves another model.onnx.
    """
    model = job.model(version.name)
    if model.sha256 != version.manifest.model_sha256:
        raise CalibrationError(
            f"the job ran version {model.version} of {version.name!r}, which is not what version {version.version} is; name "
            f"its version with --version {model.version}"
        )
    check_same_digest(engine.spec(version.name, version.version), version)
    _check_engine(engine, version, model)
    long, short = kept_scores(results, version.name, version.manifest.input, review)
    return calibration_with(engine, version, job.channels, ScoredItems(long, short))


def _check_engine(engine: Engine, version: ModelVersion, model: ReviewedModel) -> None:
    """Raise CalibrationError unless the engine differs from the calibration of the job just as the job's engine did."""
    assert model.calibration_id is not None
    earlier = version.calibration(model.calibration_id)
    tie = tie_with(engine, version, earlier)
    if tie != model.tie:
        why = tie if isinstance(tie, str) else "its scores of the probe items are not those that the job's engine had"
        raise CalibrationError(
            f"this is not the engine that ran the job: {why}; run this where the job ran, or give the --engine and --device "
            "that it had"
        )


def _items(results: Path, model: str) -> Iterator[_Item]:
    columns = ["uri", "source", "windows", "is_anomaly"]
    for batch in _batches(results / "recordings", columns, model):
        yield from map(_Item._make, zip(*(batch.column(name).to_pylist() for name in columns), strict=True))


def kept_scores(results: Path, model: str, spec: InputSpec, review: Review) -> tuple[BySource, BySource]:
    """Return the window scores of the kept items of at least one window, and of shorter ones, both by source."""
    scores: dict[str, list[float]] = {uri: [] for uri in review.kept}
    short: set[str] = set()
    columns = ["uri", "channel", "start_sample", "end_sample", "score"]
    for batch in _batches(results / "windows", columns, model, review.kept):
        rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        for uri, channel, start, end, score in rows:
            scores[uri].append(score)
            if spec.is_short(None if start is None else Span(channel, start, end - start)):
                short.add(uri)
    if sum(map(len, scores.values())) != review.windows:
        raise CalibrationError(f"the tables of {results} do not fit together; `avizor verify {results}` says what is wrong")
    by_kind: tuple[dict[str, list[tuple[float, ...]]], ...] = ({}, {})
    for uri, source in review.kept.items():
        if not np.isfinite(np.array(scores[uri])).all():
            raise CalibrationError(f"{uri} has a score that is not a finite number, so it cannot be normal; call it abnormal")
        by_kind[uri in short].setdefault(source, []).append(tuple(scores[uri]))
    long, short_ones = ({source: tuple(each) for source, each in sorted(of.items())} for of in by_kind)
    return long, short_ones


def _batches(folder: Path, columns: list[str], model: str, uris: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a model, in the order of the parts. uris: of the rows; None for all."""
    wanted: Any = pa.dataset.field("model") == model
    if uris is not None:
        wanted &= pa.dataset.field("uri").isin(pa.array(uris, pa.string()))
    parts = sorted(map(str, folder.glob("*.parquet")))
    try:
        yield from pa.dataset.dataset(parts, format="parquet").to_batches(columns=columns, filter=wanted) if parts else ()
    except (OSError, pa.ArrowInvalid) as error:
        raise CalibrationError(f"{folder} cannot be read: {' '.join(str(error).split())[:300]}") from error
