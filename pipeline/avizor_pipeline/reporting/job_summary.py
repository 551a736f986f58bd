"""Sum up a finished job as JSON: what `--json` prints and summary.json holds."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from avizor_inference.items.file_access import name_of
from avizor_inference.items.windows import ChannelMode
from avizor_inference.job_results import SUMMARY_FILE
from avizor_inference.strict_json import Strict
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.models import JobModel
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath, write_whole
from avizor_pipeline.sinks.part_files import SourceCount
from avizor_pipeline.sinks.write_errors import writing


class SourceSummary(Strict):
    """Holds what one model said of one source; of a classifier, `recordings` and `short` alone."""

    recordings: int = Field(description="items")
    anomalies: int
    not_judged: int
    short: int = Field(description="items shorter than the model's window")
    drift: float = Field(
        description="logarithm of the evidence that scores have drifted from the calibration that judges now; 0: none"
    )

    @classmethod
    def of(cls, count: SourceCount, calibration: str | None) -> SourceSummary:
        """Return the summary of the counts. calibration: the id of the one that judges now."""
        return cls(**count.model_dump(exclude={"drift"}), drift=round(max(count.drift_from(calibration)), 3))


class ModelSummary(Strict):
    """Holds what one model said. labels: of a classifier, label -> items."""

    name: str
    version: int
    calibration_id: str | None
    engine: str = Field(description="that ran it, as --engine names one: of `tuned` the model's own")
    anomalies: int
    labels: dict[str, int]
    sources: dict[str, SourceSummary]


class JobSummary(Strict):
    """Holds what a job came to. seconds: of this run alone, as is the rate."""

    out: str
    files: int
    earlier_files: int = Field(description="of `files`, those that earlier runs had finished")
    new_files: int = Field(description="of `files`, those that the dataset did not have when the last run planned")
    changed_files: int = Field(description="files that have changed since they were planned")
    gone_files: int = Field(description="of `files`, those that are not there any more; their rows stay")
    windows: int
    dead_letters: int
    earlier_dead_letters: int = Field(description="of `dead_letters`, those of earlier runs")
    left_out: dict[str, int] = Field(description="kind of file -> number that was not read")
    clipped: int = Field(description="files with samples beyond full scale")
    peak: float = Field(description="largest magnitude in them; 0 if there are none")
    low_rate: int = Field(description="files of a lower sample rate than a model's")
    several_channels: int = Field(description="files of several channels, for models that take one at a time")
    channels: ChannelMode = Field(description="what was taken of those: each channel, their mix, or one by its number")
    padded: int = Field(description="files shorter than a model's window, filled up with zeros")
    seconds: float
    items_per_second: float
    alpha: float
    confidence: float | None
    models: list[ModelSummary]


def summarise(
    outcome: Outcome, models: Sequence[JobModel], settings: JobSettings, out: OutputPath, seconds: float
) -> JobSummary:
    """Return the summary of a job that has finished. seconds: how long this run took."""
    return JobSummary(
        out=name_of(str(out)),
        files=outcome.files,
        earlier_files=outcome.earlier_files,
        new_files=outcome.changes.new,
        changed_files=outcome.changes.changed.count,
        gone_files=outcome.changes.gone.count,
        windows=outcome.windows,
        dead_letters=outcome.dead_letters,
        earlier_dead_letters=outcome.earlier_dead_letters,
        left_out=dict(sorted(outcome.left_out.counts.items())),
        clipped=outcome.clipped,
        peak=outcome.peak,
        low_rate=outcome.low_rate,
        several_channels=outcome.several_channels,
        channels=settings.channels,
        padded=outcome.padded,
        seconds=round(seconds, 3),
        items_per_second=round(outcome.files_of_this_run / max(seconds, 1e-9), 1),
        alpha=settings.alpha,
        confidence=settings.confidence,
        models=[_of_model(model, settings, outcome) for model in models],
    )


def write_summary(out: OutputPath, summary: JobSummary) -> None:
    """Write summary.json in one step. Raises JobError if the disk refuses it."""
    path = out / SUMMARY_FILE
    with writing(path):
        write_whole(path, summary.model_dump_json(indent=2) + "\n")


def _of_model(model: JobModel, settings: JobSettings, outcome: Outcome) -> ModelSummary:
    sources = outcome.sources.get(model.name, {})
    return ModelSummary(
        name=model.name,
        version=model.choice.version,
        calibration_id=model.choice.calibration_id,
        engine=settings.engine_of(model.choice),
        anomalies=sum(count.anomalies for count in sources.values()),
        labels=dict(outcome.labels.get(model.name, {})),
        sources={source: SourceSummary.of(count, model.choice.calibration_id) for source, count in sorted(sources.items())},
    )
