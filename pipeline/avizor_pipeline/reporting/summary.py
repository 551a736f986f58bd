"""Write the summary at a job's end, as text with tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from avizor_inference.anomaly.calibration_text import cross_fitted_note
from avizor_inference.anomaly.drift import ALERT_OF_A_JOB
from avizor_inference.anomaly.p_values import for_each_source, level, recordings_needed
from avizor_inference.error_text import named, short_name
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.items.windows import ChannelMode
from avizor_inference.job_results import SUMMARY_FILE
from avizor_pipeline.job_outcome import Outcome, pooled_sources
from avizor_pipeline.models import JobModel
from avizor_pipeline.reporting.dead_letter_lines import dead_letter_lines
from avizor_pipeline.reporting.progress import counted, counted_of, speed
from avizor_pipeline.reporting.surprises import surprise_lines
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.part_files import SourceCount

# Rows of a table; there may be thousands of sources or classes.
ROWS_SHOWN = 20
_NAMED = 10  # sources of a calibration

_FLAT = (
    f"  Note: files in the folder itself are of the source {DEFAULT_SOURCE!r}: give the folder above, or --source-pattern "
    "(rows: --source-column; standard input: --source)"
)


def summary_lines(
    outcome: Outcome,
    models: Sequence[JobModel],
    alpha: float,
    out: OutputPath,
    seconds: float,
    confidence: float | None = None,
    channels: ChannelMode = "each",
    derived: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the lines that say what the job computed, what it could not read, and where the results are.

    derived: what was written into the folder besides the tables.
    """
    done = outcome.files_of_this_run
    rate = f" in {seconds:.1f} s ({speed(done / seconds)})" if seconds > 0 and done else ""
    earlier = f", {outcome.earlier_files} of them by earlier runs" if outcome.earlier_files else ""
    windows = f", {counted(outcome.windows, 'window row')}" if any(model.format for model in models) else ""
    yield f"{counted_of(outcome.files, outcome.noun)}{earlier}{windows}{rate}"
    for tuned in models:
        if tuned.choice.engine:
            yield f"{tuned.name}: ran on {tuned.choice.engine} (--engine tuned)"
    for model, labels in outcome.labels.items():
        if labels:
            yield f"{model}: items by class"
            yield from _table(
                ("class", "items"), [(short_name(label), str(labels[label])) for label in _most_frequent(labels)], out
            )
    for calibrated in models:
        if calibrated.calibration:
            sources = outcome.sources[calibrated.name]
            note = cross_fitted_note(calibrated.calibration, alpha)
            promised = "alpha" if note else "a promised false-alarm rate of"
            yield from _flagged_lines(calibrated, sources, promised, alpha, confidence, out)
            yield from _drift_lines(calibrated, sources)
            if note:
                yield f"  Note: {note}"
            pooled = pooled_sources(calibrated.calibration, sources, alpha, confidence)
            yield from source_notes(pooled, calibrated, alpha, confidence)
    yield from surprise_lines(outcome, channels)
    if outcome.left_out.counts:
        yield f"left out: {outcome.left_out}"
    if outcome.dead_letters:
        unread, them = counted_of(outcome.dead_letters, outcome.noun), "it" if outcome.dead_letters == 1 else "them"
        before = outcome.earlier_dead_letters
        told = (
            ""
            if not before
            else ", in earlier runs"
            if before == outcome.dead_letters
            else f", {before} of them in earlier runs"
        )
        yield f"{unread} could not be read{told}: see {out}/dead_letters/*.parquet; correct {them}, then: avizor retry {out}"
        yield from dead_letter_lines(out, outcome.dead_letters)
    written = ("windows/", "recordings/", *["dead_letters/"] * bool(outcome.dead_letters), *derived, SUMMARY_FILE)
    yield f"results in {out}: {', '.join(written)}"


def _most_frequent(labels: Mapping[str, int]) -> list[str]:
    """Return the labels, the most frequent first; the order of equally frequent ones is that of their names, in every run."""
    return sorted(labels, key=lambda label: (-labels[label], label))


def _flagged_lines(
    model: JobModel, sources: Mapping[str, SourceCount], what: str, alpha: float, confidence: float | None, out: OutputPath
) -> Iterator[str]:
    kept = "" if confidence is None else f", with confidence {confidence:g} in this calibration"
    yield f"{model.name}: {model.items} flagged at {what} {alpha:.2%}{kept}"
    rows = [_source_row(source, count) for source, count in sorted(sources.items(), key=_most_flagged)]
    yield from _table(("source", model.items, "flagged", "share", "not judged"), rows, out)
    if any(count.not_judged for count in sources.values()):
        one = model.items.removesuffix("s")
        yield (
            f"  Note: a {one} shorter than the model's window needs calibration {model.items} as short, a longer one longer "
            f"ones: see not_judged in {out}/recordings"
        )


def _drift_lines(model: JobModel, sources: Mapping[str, SourceCount]) -> Iterator[str]:
    """Yield which sources do not have the scores that the model was calibrated with, though few or none may be flagged."""
    calibration = model.choice.calibration_id  # what an earlier one was wrong about, this one may be right about
    evidence = {source: count.drift_from(calibration) for source, count in sources.items()}
    for what, drifted in (
        ("larger", [source for source, of in evidence.items() if of.larger > max(ALERT_OF_A_JOB, of.smaller)]),
        ("smaller", [source for source, of in evidence.items() if of.smaller > max(ALERT_OF_A_JOB, of.larger)]),
    ):
        if drifted:
            names = named(list(map(short_name, sorted(drifted))), ROWS_SHOWN)
            yield (
                f"  Note: {names}: scores are {what} than in the calibration, whatever is flagged, so alpha does not hold "
                f"(healthy {model.items} do this with a probability below 1 in 10,000); look at some of them, and calibrate "
                "again if they are normal"
            )


def _source_row(source: str, count: SourceCount) -> tuple[str, ...]:
    judged = count.recordings - count.not_judged
    share = f"{count.anomalies / judged:.1%}" if judged else "-"
    return short_name(source), str(count.recordings), str(count.anomalies), share, str(count.not_judged)


def _most_flagged(item: tuple[str, SourceCount]) -> tuple[float, str]:
    """Return what sorts sources by their share flagged, the largest first."""
    source, count = item
    return -count.anomalies / max(1, count.recordings - count.not_judged), source


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], out: OutputPath) -> Iterator[str]:
    """Yield the lines of a table: the first column to the left, numbers to the right, not more than ROWS_SHOWN rows."""
    shown = [head, *rows[:ROWS_SHOWN]]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    for row in shown:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  " + "  ".join([row[0].ljust(widths[0]), *numbers])
    if len(rows) > ROWS_SHOWN:
        yield f"  and {len(rows) - ROWS_SHOWN} more: see {out}/{SUMMARY_FILE}"


def source_notes(pooled: Mapping[str, int], model: JobModel, alpha: float, confidence: float | None = None) -> Iterator[str]:
    """Yield what the promise is worth for sources that all sources together judge.

    pooled: the number of calibration items of each, as `pooled_sources` returns them. model: which has a calibration.
    """
    if few := [f"{short_name(source)} ({count})" for source, count in sorted(pooled.items()) if count]:
        kept = "" if confidence is None else ", without the confidence"
        yield (
            f"  Note: {named(few, ROWS_SHOWN)}: too few calibration {model.items} for {level(alpha, confidence)}, which needs "
            f"{recordings_needed(alpha, confidence)}: up to 1 in n + 1 normal ones may be flagged (n in brackets){kept}"
            f"{for_each_source(model.calibration, confidence) if model.calibration else ''}"
        )
    if never := [short_name(source) for source, count in sorted(pooled.items()) if not count]:
        what = "judged by all other sources together, without the promise"
        yield f"  Note: {named(never, ROWS_SHOWN)} never calibrated: {what}{_known(model)}"
        if DEFAULT_SOURCE in never:
            yield _FLAT


def _known(model: JobModel) -> str:
    """Return which sources the calibration of a model has, to follow a message: one that it lacks may be mistyped."""
    names = model.calibration.source_names if model.calibration else []
    return f"; the calibration has {named([short_name(name) for name in names], _NAMED)}" if names else ""
