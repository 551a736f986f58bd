"""What a job came to, added up over its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from avizor_inference.anomaly.judge import under_calibrated
from avizor_inference.items.files import LeftOut
from avizor_inference.repository.calibration import Calibration
from avizor_pipeline.sinks.parts import Commit, SourceCount


@dataclass
class Outcome:
    """What a job came to, over all of its shards."""

    files: int = 0
    windows: int = 0
    dead_letters: int = 0
    clipped: int = 0  # files with samples beyond full scale
    peak: float = 0.0  # largest magnitude in them
    left_out: LeftOut = field(default_factory=LeftOut)
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # model -> label -> recordings
    sources: dict[str, dict[str, SourceCount]] = field(default_factory=dict)  # model -> source -> counts
    # model with a calibration -> source judged by all sources together -> recordings of its own there, 0 if never calibrated
    pooled: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, commit: Commit) -> None:
        """Count one shard."""
        self.files += commit.files
        self.windows += commit.windows
        self.dead_letters += commit.dead_letters
        self.clipped += commit.clipped
        self.peak = max(self.peak, commit.peak)
        for model, labels in commit.labels.items():
            self.labels.setdefault(model, Counter()).update(labels)
        for model, sources in commit.sources.items():
            counted = self.sources.setdefault(model, {})
            for source, count in sources.items():
                counted[source] = counted.get(source, SourceCount()) + count


def pooled_sources(calibration: Calibration, sources: Mapping[str, SourceCount], alpha: float) -> dict[str, int]:
    """Sources of the job whose own recordings cannot support alpha, with their number."""
    whole = [source for source, count in sources.items() if count.recordings > count.short]
    short = [source for source, count in sources.items() if count.short]
    few_short = under_calibrated(calibration, short, alpha, is_short=True)
    return under_calibrated(calibration, whole, alpha) | {
        f"{source}, shorter than a window": count for source, count in few_short.items()
    }
