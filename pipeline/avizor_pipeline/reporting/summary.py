"""The summary at a job's end, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from avizor_inference.anomaly.judge import recordings_needed
from avizor_inference.items.sources import DEFAULT_SOURCE
from avizor_pipeline.outcome import Outcome
from avizor_pipeline.settings import JobSettings

_FLAT = (
    f"; files that lie in the folder itself are of the source {DEFAULT_SOURCE!r}: give the folder above, so that its folders "
    "are the sources, or --source-pattern"
)


def summary(outcome: Outcome, settings: JobSettings, out: Path, seconds: float) -> Iterator[str]:
    """Lines that say what was found, what could not be read, and where it lies."""
    rate = f" in {seconds:.1f} s ({outcome.files / seconds:.0f} clips/s)" if seconds > 0 else ""
    yield f"{outcome.files} files, {outcome.windows} window rows{rate}"
    for model, labels in outcome.labels.items():
        if labels:
            counts = ", ".join(f"{label} {count}" for label, count in labels.most_common())
            yield f"{model}: {counts}"
    for choice in settings.models:
        if choice.calibration_id is None:
            continue
        yield f"{choice.name}: recordings flagged at a promised false-alarm rate of {settings.alpha:.2%}"
        for source, count in sorted(outcome.sources[choice.name].items()):
            left_out = f"; {count.not_judged} of them not judged" if count.not_judged else ""
            yield f"  {source}: {count.anomalies} of {count.recordings}{left_out}"
        if any(count.not_judged for count in outcome.sources[choice.name].values()):
            yield (
                "  Note: recordings shorter than the model's window are compared only with calibration recordings that are so, "
                f"and the others with the others; there are too few of a kind: see the column not_judged in {out}/recordings"
            )
        yield from source_notes(outcome.pooled[choice.name], settings.alpha)
    if outcome.clipped:
        files = "1 file holds" if outcome.clipped == 1 else f"{outcome.clipped} files hold"
        yield (
            f"{files} samples beyond full scale, up to {outcome.peak:.3g}: clipped to -1..1 "
            "(recordings/, columns peak and clipped)"
        )
    if outcome.left_out.counts:
        yield f"left out: {outcome.left_out}"
    if outcome.dead_letters:
        yield f"{outcome.dead_letters} files could not be read: see {out}/dead_letters/*.parquet"
    yield f"results in {out}: windows/, recordings/" + (", dead_letters/" if outcome.dead_letters else "")


def source_notes(recordings: Mapping[str, int], alpha: float) -> Iterator[str]:
    """What the promise is worth for sources that were judged by all of them. recordings: of the calibration, by source."""
    if few := [f"{source} ({count})" for source, count in sorted(recordings.items()) if count]:
        yield (
            f"  Note: {', '.join(few)}: too few calibration recordings for alpha {alpha:g}, which needs "
            f"{recordings_needed(alpha)}: all sources together judge what is more unusual than all of its own, and up to "
            "1 in n + 1 normal recordings may be flagged, n being the number in brackets"
        )
    if never := [source for source, count in sorted(recordings.items()) if not count]:
        yield (
            f"  Note: {', '.join(never)} never calibrated: judged by all other sources together, and the promise "
            f"does not hold there{_FLAT if DEFAULT_SOURCE in never else ''}"
        )
