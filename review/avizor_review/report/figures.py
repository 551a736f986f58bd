"""Work out the figures of a report: by model and source, over time, distributions, classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import log10
from pathlib import Path
from typing import Any

import numpy as np

from avizor_inference.anomaly.calibration_text import cross_fitted_note
from avizor_inference.anomaly.item_score import item_scores
from avizor_inference.anomaly.p_values import supported_alpha
from avizor_inference.review_answers import ANSWERS_FILE, AnswerFile, Answers
from avizor_review.media.job_models import JobModels
from avizor_review.report.steps import Steps, steps_of
from avizor_review.results import Results

# Sources that have a line of their own; stretches of time; bins of a histogram; points of a map.
MOST_SOURCES = 100
_STRETCHES = 60
_BINS = 60
_MOST_CLASSES = 60
_MOST_POINTS = 4000


@dataclass
class SourceFigures:
    """Holds one source of a model. name: None for all other sources together. calibrated: its items in the calibration."""

    name: str | None
    items: int
    judged: int
    not_judged: int
    calibrated: int | None
    steps: Steps = field(default_factory=Steps)


@dataclass
class Stretch:
    """Holds the items of one stretch of time."""

    begin: str
    end: str
    items: int
    steps: Steps = field(default_factory=Steps)


@dataclass
class Answered:
    """Holds what reviewers said of flagged items, by the p-values of these."""

    normal: Steps = field(default_factory=Steps)
    abnormal: Steps = field(default_factory=Steps)
    doubtful: Steps = field(default_factory=Steps)


@dataclass
class ModelFigures:
    """Holds what a report says of one model. scores, uniform: rows of charts.

    weaker: what its calibration promises, if that is not alpha. comparable: normal items in it that one item can be compared
    with; None if that is not known, or decides nothing.
    """

    name: str
    version: int
    is_judge: bool
    problem: str
    calibration: str | None
    calibrated: int | None
    items: int
    weaker: str = ""
    sources: list[SourceFigures] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    p_values: list[dict[str, Any]] = field(default_factory=list)
    classes: list[dict[str, Any]] = field(default_factory=list)
    other_classes: int = 0
    answered: Answered | None = None
    comparable: int | None = None

    @property
    def least_alpha(self) -> float:
        """Return the smallest p-value that an item can have: nothing is flagged at a smaller alpha. 0: not known."""
        return 0.0 if self.comparable is None else 1 / (self.comparable + 1)

    @property
    def supported_alpha(self) -> float:
        """Return the same as people are told it."""
        return 0.0 if self.comparable is None else supported_alpha(self.comparable, None)


def figures_of(
    results: Results, models: JobModels, alphas: Sequence[float], answers: Path | None = None
) -> tuple[list[ModelFigures], list[float]]:
    """Return the figures of each model that has items, and the alphas at which its counts are exact: [] for all.

    answers: file of those that reviewers gave; None for the one in the results.
    """
    found: dict[str, ModelFigures] = {}
    for model in results.job.models:
        ((items, judged),) = results.tables.rows(
            "SELECT count(*), count(p_value) FROM recordings WHERE model = ?", [model.name]
        )
        if items:
            calibration = models.calibration(model.name)
            calibrated = calibration.recordings() if calibration else None
            found[model.name] = ModelFigures(
                *(model.name, model.version, bool(judged), models.problem(model.name), model.calibration_id, calibrated, items),
                weaker=cross_fitted_note(calibration) if calibration else "",
                comparable=calibration.most_of_a_kind() if calibration and results.job.confidence is None else None,
            )
    grid = _add_sources(results, models, found, alphas)
    grid = sorted({*grid, *_add_stretches(results, found, alphas)})
    given = AnswerFile(answers or results.folder / ANSWERS_FILE).answers()
    for figures in found.values():
        _add_distributions(results, models, figures)
        _add_classes(results, figures)
        figures.answered = _answered(results, figures.name, given)
    return list(found.values()), grid


def _add_sources(
    results: Results, models: JobModels, found: dict[str, ModelFigures], alphas: Sequence[float]
) -> Sequence[float]:
    shown: list[tuple[str, str]] = []
    for name in found:
        counts = [each for each in results.sources() if each.model == name]
        calibration = models.calibration(name)
        apart = calibration is not None and calibration.tells_sources_apart
        counts.sort(key=lambda each: (-each.flagged / max(1, each.judged) if each.judged else 0.0, -each.items, each.source))
        for each in counts[:MOST_SOURCES]:
            own = calibration.recordings(each.source) if calibration and apart else None
            found[name].sources.append(SourceFigures(each.source, each.items, each.judged, each.not_judged, own))
            shown.append((name, each.source))
        if rest := counts[MOST_SOURCES:]:
            items, judged, not_judged = (sum(getattr(each, key) for each in rest) for key in ("items", "judged", "not_judged"))
            found[name].sources.append(SourceFigures(None, items, judged, not_judged, None))
    pairs = ", ".join(f"({_text(model)}, {_text(source)})" for model, source in shown)
    known = f"(model, source) IN ({pairs})" if pairs else "false"
    steps = steps_of(results, f"SELECT model, CASE WHEN {known} THEN source END AS part, p_value FROM recordings", alphas)
    for name, model in found.items():
        for source in model.sources:
            source.steps = steps.of.get((name, source.name), Steps())
        model.sources.sort(key=lambda each: each.name is None)
    return steps.grid


def _add_stretches(results: Results, found: dict[str, ModelFigures], alphas: Sequence[float]) -> Sequence[float]:
    timed = results.timed()
    ((first, last),) = results.tables.rows(f"SELECT min(time), max(time) FROM ({timed})")
    if first is None or (last - first).total_seconds() < _SHORTEST:
        return ()
    seconds = max(1.0, (last - first).total_seconds() / (_STRETCHES - 1))
    width = next((each for each in _WIDTHS if each >= seconds), 86400.0 * round(seconds / 86400 + 0.5))
    begin = f"time_bucket(to_microseconds({int(width * 1e6)}), time)"
    stretched = f"SELECT model, {begin} AS part, p_value FROM ({timed}) WHERE time IS NOT NULL"
    steps = steps_of(results, stretched, alphas)
    for model, part, items in results.tables.rows(f"SELECT model, part, count(*) FROM ({stretched}) GROUP BY ALL ORDER BY ALL"):
        if model in found:
            assert isinstance(part, datetime)
            found[model].stretches.append(
                Stretch(
                    part.isoformat(), (part + timedelta(seconds=width)).isoformat(), items, steps.of.get((model, part), Steps())
                )
            )
    return steps.grid


# Seconds below which a job has no times that could be told apart: files that were copied at once.
_SHORTEST = 60

# Seconds that a stretch of time may have, below a day.
_WIDTHS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0)


def _add_distributions(results: Results, models: JobModels, model: ModelFigures) -> None:
    scores = "SELECT score FROM recordings WHERE model = ? AND score > 0 AND isfinite(score)"
    ((low, high),) = results.tables.rows(f"SELECT min(score), max(score) FROM ({scores})", [model.name])
    if low is None:
        return
    calibration = models.calibration(model.name)
    kinds = (calibration.sources, calibration.short) if calibration else ()
    recordings = [windows for kind in kinds for each in kind.values() for windows in each]
    known = item_scores(recordings)
    known = [score for score in known if score > 0 and np.isfinite(score)]
    edges = np.logspace(log10(min([low, *known]) * 0.999), log10(max([high, *known]) * 1.001), _BINS + 1)
    step = (log10(edges[-1]) - log10(edges[0])) / _BINS
    place = f"least(greatest(floor((log10(score) - {log10(edges[0])!r}) / {step!r}), 0), {_BINS - 1})::INTEGER"
    rows = results.tables.rows(f"SELECT {place} AS bin, count(*) FROM ({scores}) GROUP BY ALL", [model.name])
    job = np.zeros(_BINS, np.int64)
    for number, count in rows:
        job[number] = count
    series = [("this job", job)]
    if known:
        series.append(("calibration", np.histogram(known, edges)[0]))
    for name, counts in series:
        shares = counts / max(1, counts.sum())
        model.scores += [
            {
                "from": float(f"{edges[place]:.5g}"),
                "to": float(f"{edges[place + 1]:.5g}"),
                "share": round(float(share), 6),
                "of": name,
            }
            for place, share in enumerate(shares)
        ]
    if model.is_judge:
        rows = results.tables.rows(
            "SELECT least(floor(p_value * 20), 19)::INTEGER, count(*) FROM recordings WHERE model = ? AND p_value IS NOT NULL "
            "GROUP BY ALL",
            [model.name],
        )
        heights: dict[int, int] = {row[0]: row[1] for row in rows}
        total = sum(heights.values())
        model.p_values = [
            {"from": place / 20, "to": (place + 1) / 20, "share": round(heights.get(place, 0) / total, 6)}
            for place in range(20)
        ]


def _add_classes(results: Results, model: ModelFigures) -> None:
    rows = results.tables.rows(
        "SELECT label, count(*) AS n, avg(probability) FROM recordings WHERE model = ? AND label IS NOT NULL "
        "GROUP BY label ORDER BY n DESC, label",
        [model.name],
    )
    model.classes = [{"label": label, "items": items, "probability": sure} for label, items, sure in rows[:_MOST_CLASSES]]
    model.other_classes = len(rows[_MOST_CLASSES:])


def _answered(results: Results, model: str, answers: Answers) -> Answered | None:
    """Return what reviewers said of the items of a model; None if nobody has said anything."""
    items = [key for key in answers.answered() if key.model == model and key.channel is None]
    said = {key.uri: answers.verdict(key) for key in items}
    if not said:
        return None
    rows = results.tables.rows(
        "SELECT uri, p_value FROM recordings "
        "WHERE model = ? AND p_value IS NOT NULL AND uri IN (SELECT unnest(?)) ORDER BY p_value",
        [model, list(said)],
    )
    found = Answered()
    of = {"normal": found.normal, "abnormal": found.abnormal, "unsure": found.doubtful, "disagreed": found.doubtful}
    for uri, p_value in rows:
        if verdict := said[uri]:
            steps = of[verdict]
            steps.alphas.append(p_value)
            steps.counts.append(len(steps.alphas))
    return found


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
