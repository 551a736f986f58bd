"""Add up what a job came to, over its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from avizor_inference.anomaly.p_values import under_calibrated
from avizor_inference.items.find_files import LeftOut
from avizor_inference.repository.calibration import Calibration
from avizor_pipeline.known_files import Changes
from avizor_pipeline.sinks.output_folder import Finished
from avizor_pipeline.sinks.part_files import Commit, SourceCount


@dataclass
class Outcome:
    """Holds the totals of a job, over all shards that were added.

    left_out: what the dataset holds and the job did not read. changes: of the dataset since earlier runs. earlier_files,
    earlier_dead_letters: of `files` and `dead_letters`, those of earlier runs. clipped: files with samples beyond full scale.
    peak: largest magnitude in them. noun: what `files` counts, in the plural. low_rate, several_channels, padded: see Commit.
    labels: model -> label -> items. sources: model -> source -> counts.
    """

    left_out: LeftOut = field(default_factory=LeftOut)
    changes: Changes = field(default_factory=Changes)
    noun: str = "files"
    files: int = 0
    earlier_files: int = 0
    earlier_dead_letters: int = 0
    windows: int = 0
    dead_letters: int = 0
    clipped: int = 0
    peak: float = 0.0
    low_rate: int = 0
    several_channels: int = 0
    padded: int = 0
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    sources: dict[str, dict[str, SourceCount]] = field(default_factory=dict)

    @property
    def anomalies(self) -> int:
        """Return the number of items flagged, over all models: an item that two models flag counts twice."""
        return sum(count.anomalies for sources in self.sources.values() for count in sources.values())

    @property
    def files_of_this_run(self) -> int:
        """Return the number of files that this run has done."""
        return self.files - self.earlier_files

    def resume(self, finished: Finished) -> None:
        """Take in what earlier runs have finished, before it is added."""
        self.earlier_files, self.earlier_dead_letters = finished.files, finished.dead_letters

    def add(self, commit: Commit) -> None:
        """Add one shard."""
        self.files += commit.files
        self.windows += commit.windows
        self.dead_letters += commit.dead_letters
        self.clipped += commit.clipped
        self.peak = max(self.peak, commit.peak)
        self.low_rate += commit.low_rate
        self.several_channels += commit.several_channels
        self.padded += commit.padded
        for model, labels in commit.labels.items():
            self.labels.setdefault(model, Counter()).update(labels)
        for model, sources in commit.sources.items():
            totals = self.sources.setdefault(model, {})
            for source, count in sources.items():
                totals[source] = totals.get(source, SourceCount()) + count


def pooled_sources(
    calibration: Calibration, sources: Mapping[str, SourceCount], alpha: float, confidence: float | None = None
) -> dict[str, int]:
    """Return the sources of a job that all sources together judge, with the number of calibration items of each.

    These are the sources whose own items are too few for alpha; the number is 0 for one that was never calibrated.
    """
    whole = [source for source, count in sources.items() if count.recordings > count.short]
    short = [source for source, count in sources.items() if count.short]
    few_short = under_calibrated(calibration, short, alpha, confidence, is_short=True)
    return under_calibrated(calibration, whole, alpha, confidence) | {
        f"{source}, shorter than a window": count for source, count in few_short.items()
    }
