"""Make the report of a job: ask its results, and write one HTML file of at most 20 MiB."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avizor_inference.durable_files import write_bytes
from avizor_inference.error_text import printable, reason
from avizor_inference.errors import SettingsError
from avizor_inference.job_results import SUMMARY_FILE
from avizor_inference.regular_files import read_regular
from avizor_review.media.media import Media
from avizor_review.report import charts
from avizor_review.report.figures import ModelFigures, figures_of
from avizor_review.report.page import MOST_BYTES, Report, number, render
from avizor_review.report.projections import projections_of
from avizor_review.report.steps import HIGHEST_ALPHA
from avizor_review.report.unusual import unusual_items
from avizor_review.results import Results

_log = logging.getLogger(__name__)

# Of the page, what pictures and sounds may take.
_MEDIA_BYTES = 15 * 2**20

_MOST_CARD = 20_000


def write_report(
    results: Results,
    out: Path,
    models: Path | None = None,
    alpha: float | None = None,
    items: int = 40,
    answers: Path | None = None,
) -> int:
    """Write the report of a job, whole or not at all, and return its size in bytes.

    models: the folder of the job's models; None for the one that it used. alpha: what the page begins with; None for the job's.
    items: of each model that are shown. answers: file of a review; None for the one in the results. Raises SettingsError if it
    cannot be written, JobError if the results cannot be read.
    """
    _check(results, out, alpha)
    with Media(results, models) as media:
        report = _report(results, media, alpha, items, answers)
        page = render(report)
        while len(page) > MOST_BYTES and any(each.items for each in report.shown):
            fewer = [replace(each, items=each.items[: len(each.items) // 2]) for each in report.shown]
            for before, after in zip(report.shown, fewer, strict=True):
                after.left_out = before.left_out + len(before.items) - len(after.items)
            report = replace(report, shown=fewer)
            page = render(report)
    try:
        write_bytes(out, page)
    except OSError as error:
        raise SettingsError(f"{out} cannot be written ({reason(error)}); name another file with --out") from error
    return len(page)


def _check(results: Results, out: Path, alpha: float | None) -> None:
    if alpha is not None and not 0 < alpha <= HIGHEST_ALPHA:
        raise SettingsError(
            f"--alpha {alpha:g} is not between 0 and {HIGHEST_ALPHA}; it is the share of false alarms, e.g. 0.01"
        )
    if alpha is not None and alpha != results.job.alpha and results.job.confidence is not None:
        raise SettingsError(
            f"the job judged with a confidence of {results.job.confidence:g}, for alpha {results.job.alpha:g} alone; leave out "
            "--alpha, or run a job with another one"
        )
    if not out.parent.is_dir() or out.is_dir():
        raise SettingsError(
            f"{out} cannot be written: {'it' if out.is_dir() else out.parent} is "
            f"{'a folder' if out.is_dir() else 'not a folder'}; name a file with --out"
        )


def _report(results: Results, media: Media, alpha: float | None, items: int, answers: Path | None) -> Report:
    job = results.job
    chosen = alpha or job.alpha
    figures, grid = figures_of(results, media.models, [chosen, job.alpha], answers)
    _warn_of_small_alpha(figures, chosen)
    projections = projections_of(results)
    causes = results.causes()
    return Report(
        title=printable(results.folder.resolve().name),
        facts=_facts(results, figures),
        warnings=_warnings(results, figures),
        alpha=chosen,
        job_alpha=job.alpha,
        is_kept=job.kept,
        can_move=not job.kept and job.confidence is None and any(model.is_judge for model in figures),
        models=figures,
        grid=grid,
        shown=unusual_items(results, media, figures, items, _MEDIA_BYTES),
        projections=projections,
        causes=causes,
        dead_letters=results.dead_letter_count(),
        cards={model.name: media.models.card(model.name)[:_MOST_CARD] for model in figures},
        charts=_charts(figures, [charts.map_chart(each) for each in projections], is_kept=job.kept),
    )


def _warn_of_small_alpha(models: Sequence[ModelFigures], alpha: float) -> None:
    """Say which models can flag nothing at alpha: a job refuses it, and a report is of a job with another one."""
    for model in models:
        if alpha < model.least_alpha and not any(source.steps.at(alpha) for source in model.sources):
            _log.warning(
                "nothing can be flagged by %s at alpha %g: the %d normal items of its calibration support alpha %g or more; "
                "give a larger --alpha, or calibrate with more items and run a new job",
                *(model.name, alpha, model.comparable, model.supported_alpha),
            )


def _charts(models: Sequence[ModelFigures], maps: Sequence[dict[str, Any]], *, is_kept: bool) -> dict[str, Any]:
    """Return the charts of the page by the ids of their places."""
    found: dict[str, Any] = {f"map-{place}": each for place, each in enumerate(maps)}
    for place, model in enumerate(models):
        if model.is_judge and not is_kept:
            found[f"sources-{place}"] = charts.sources_chart(model)
            found[f"p-values-{place}"] = charts.p_values_chart(model)
        if model.scores:
            found[f"scores-{place}"] = charts.scores_chart(model)
        if model.stretches:
            found[f"timeline-{place}"] = charts.timeline_chart(model)
        if model.classes:
            found[f"classes-{place}"] = charts.classes_chart(model)
    return found


def _facts(results: Results, models: Sequence[ModelFigures]) -> list[tuple[str, str]]:
    job = results.job
    ((items, windows),) = results.tables.rows(
        "SELECT (SELECT count(DISTINCT uri) FROM recordings), (SELECT count(*) FROM windows)"
    )
    facts = [
        ("data", ", ".join(job.roots)),
        ("items judged", f"{number(items)} of {number(results.planned())} planned" if results.planned() else number(items)),
        ("windows", number(windows)),
        ("could not be read", number(results.dead_letter_count())),
        ("alpha", f"{job.alpha:g}" + (f", with a confidence of {job.confidence:g}" if job.confidence else "")),
        ("models", ", ".join(f"{model.name} version {model.version}" for model in models) or "none has judged an item"),
        ("engine", job.engine),
    ]
    if seconds := _seconds(results):
        facts.append(("time of the last run", f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"))
    return facts


def _seconds(results: Results) -> float:
    try:
        found = json.loads(read_regular(results.folder / SUMMARY_FILE)).get("seconds", 0.0)
    except (OSError, ValueError, AttributeError):
        return 0.0
    return float(found) if isinstance(found, int | float) else 0.0


def _warnings(results: Results, models: Sequence[ModelFigures]) -> list[str]:
    found = []
    if results.job.kept:
        found.append(
            "A gateway has kept these items because it flagged them. What share of all items they are, its metrics say."
        )
    elif not results.is_finished:
        found.append("The job has not finished: it runs, or was stopped. All figures are of what it has done so far.")
    problems = dict.fromkeys(model.problem for model in models if model.problem)
    found += [f"No error maps, calibrations and cards are shown: {problem}." for problem in problems]
    found += [f"{model.name}: {model.weaker}." for model in models if model.weaker]
    for model in models:
        if not_judged := sum(source.not_judged for source in model.sources):
            items = "1 item was" if not_judged == 1 else f"{not_judged:,} items were"
            found.append(f"{items} not judged by {model.name}: its calibration has too few items of that kind.")
        for source in model.sources:
            if source.calibrated == 0 and source.judged:
                found.append(
                    f"{source.name} has no recordings in the calibration of {model.name}: all other sources judge it, and "
                    "nothing is promised."
                )
    if len(found) > 20:
        found[20:] = [f"... and {len(found) - 20} more of this kind."]
    return found
