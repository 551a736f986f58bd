"""Add up what a job came to, over its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from avizor_inference.anomaly.p_values import under_calibrated
from avizor_inference.items.find_files import LeftOut
from avizor_inference.repository.calibration import Calibration
from avizor_pipeline.known_files import Changes
from avizor_pipeline.sinks.output_folder import Finished
from avizor_pipeline.sinks.part_files import Commit, SourceCount
from avizor_pipeline.sinks.section_files import SectionRecord


@dataclass
class Outcome:
    """Holds the totals of a job, over all shards that were added.

    left_out: what the dataset holds and the job did not read. changes: of the dataset since earlier runs. earlier_files,
    earlier_dead_letters: of `files` and `dead_letters`, those of earlier runs. clipped: files with samples beyond full scale.
    peak: largest magnitude in them. noun: what `files` counts, in the plural. low_rate, several_channels, padded: see Commit.
    labels: model -> label -> items. sources: model -> source -> counts. earlier_in_part: what earlier runs have done of long
    files that they did not finish, in files. work: bytes of the files of each shard, if they are known. earlier_work: those
    that earlier runs have done.
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
    earlier_in_part: float = 0.0
    work: Mapping[str, int] = field(default_factory=dict)
    earlier_work: float = 0.0
    _work_done: int = 0
    _in_part: Counter[str] = field(default_factory=Counter)  # sections that are done, by shard
    _sections: dict[str, int] = field(default_factory=dict)  # and how many there are

    @property
    def files_so_far(self) -> float:
        """Return the number of files that are done, with what is done of long files."""
        return self.files + sum(done / self._sections[shard] for shard, done in self._in_part.items())

    @cached_property
    def all_work(self) -> int:
        """Return the bytes of all files of the job; 0 if they are not known."""
        return sum(self.work.values())

    @property
    def work_so_far(self) -> float:
        """Return the bytes of the files that are done, with what is done of long files."""
        return self._work_done + sum(
            self.work.get(shard, 0) * done / self._sections[shard] for shard, done in self._in_part.items()
        )

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
        self.earlier_in_part = finished.files_in_part
        for shard, sections in finished.sections.items():
            if not sections.of:  # of a stream, which is counted when it is put together
                continue
            self._in_part[shard], self._sections[shard] = len(sections.done), sections.of
        self.earlier_work = self.work_so_far + sum(self.work.get(shard, 0) for shard in finished.shards)

    def add_section(self, section: SectionRecord) -> None:
        """Take in a section of a long file, whose numbers are added with the file's."""
        self._in_part[section.shard] += 1
        self._sections[section.shard] = section.of

    def add(self, commit: Commit) -> None:
        """Add one shard."""
        self._in_part.pop(commit.shard, None)
        self._work_done += self.work.get(commit.shard, 0)
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
