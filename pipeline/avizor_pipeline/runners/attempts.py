"""Decide what is done with a shard whose worker died: try it again, then split it until the file that kills is alone.

A shard keeps its id and is committed once, as a whole. Its parts are only read, and written nowhere, to find the file; then the
shard is done without it. So what is committed depends on which files kill a worker, and not on when workers died: anybody may
end one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from avizor_inference.errors import JobError
from avizor_inference.items.dataset import Entry
from avizor_pipeline.sharding import Shard
from avizor_pipeline.watch import NOT_READING

# Deaths of workers in one shard: so many until it is split, and so many at most if no file alone is the cause.
_DEATHS_TO_SPLIT = 2
_DEATHS_AT_MOST = 4

# Deaths that a file alone must be the cause of: one of them may have come from elsewhere.
_DEATHS_ALONE = 2

# Deaths in the commit of one shard, at most.
_DEATHS_IN_COMMIT = 3

_MEMORY = "out of memory, or a fault in a decoder"


@dataclass(frozen=True)
class Task:
    """Holds what a worker does at once: a whole shard, or some of its files to see whether it survives them.

    lost: files of the shard that are not read; uri -> why. trial: whether nothing is written.
    """

    shard: Shard
    lost: Mapping[str, str]
    trial: bool = False


@dataclass
class Attempt:
    """Holds a shard until it is committed, over the deaths of workers.

    lost: files that have killed workers, each alone, or hung; uri -> message of its dead letter. commits_alone: whether its
    worker does nothing else while it commits: a worker has died there. deaths: while it was read. deaths_alone: in the trial of
    the file that is tried alone now. groups: files that are still to be tried, each group without the others.
    """

    shard: Shard
    lost: dict[str, str] = field(default_factory=dict)
    commits_alone: bool = False
    _deaths: int = 0
    _deaths_alone: int = 0
    _deaths_in_commit: int = 0
    _groups: list[tuple[Entry, ...]] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """Return what is to be done next."""
        if self._groups:
            return Task(replace(self.shard, entries=self._groups[0]), {}, trial=True)
        return Task(self.shard, dict(self.lost))

    def worker_died(self, place: int, how: str) -> None:
        """Note that a worker died in the task. place: of the entry it read last. how: what ended it, such as `SIGSEGV`.

        Raises JobError if workers die again and again, and not because of one file.
        """
        group = self._groups.pop(0) if self._groups else ()
        if len(group) == 1:
            self._deaths_alone += 1
            if self._deaths_alone < _DEATHS_ALONE:
                self._groups.insert(0, group)
                return
            self._lose(group[0], f"the process that read it was ended by {how}, also with this file alone ({_MEMORY})")
        elif group:
            self._groups = [*_halves(group), *self._groups]
        else:
            self._deaths += 1
            if self._deaths > _DEATHS_AT_MOST:
                raise JobError(
                    f"a worker process died {self._deaths} times in one shard (ended by {how}; {_MEMORY}), and survives each "
                    "of its files alone; finished shards are kept: use fewer --workers, and run the same command again to go on"
                )
            if self._deaths >= _DEATHS_TO_SPLIT:
                self._split(place)

    def worker_died_in_commit(self, how: str, *, is_cause: bool) -> None:
        """Note that a worker died while it committed the shard. is_cause: that it did nothing else.

        Raises JobError if workers die there again and again.
        """
        self.commits_alone = True
        self._deaths_in_commit += is_cause
        if self._deaths_in_commit > _DEATHS_IN_COMMIT:
            raise JobError(
                f"a worker process died {self._deaths_in_commit} times as it committed one shard (ended by {how}; out of "
                "memory, or a fault in what writes to --out): all files of the shard were read, and none is the cause; "
                "finished shards are kept: run the same command again to go on, with fewer --workers if memory is short"
            )

    def worker_survived(self) -> None:
        """Note that a worker has done a trial."""
        self._groups.pop(0)
        self._deaths_alone = 0

    def worker_hung(self, place: int, seconds: float) -> None:
        """Note that a worker had to be ended: the entry at this place gave nothing for so many seconds."""
        entries = self._groups.pop(0) if self._groups else self.shard.entries
        self._lose(entries[place], f"its decoder gave nothing for {seconds:g} s (--file-timeout-s) and was ended")

    def _lose(self, entry: Entry, message: str) -> None:
        self.lost[entry.uri] = message
        self._groups, self._deaths_alone = [], 0  # the shard is tried again without this file
        self._deaths = min(self._deaths, _DEATHS_TO_SPLIT - 1)  # there may be more of its kind: do not wait for two deaths

    def _split(self, place: int) -> None:
        """Try the file that was read when the worker died alone, then halves of all: the cause may be another one."""
        alive = tuple(entry for entry in self.shard.entries if entry.uri not in self.lost)
        suspect = self.shard.entries[place] if place != NOT_READING else None
        self._groups = [*([(suspect,)] if suspect in alive else []), *_halves(alive)]


def _halves(entries: tuple[Entry, ...]) -> list[tuple[Entry, ...]]:
    middle = (len(entries) + 1) // 2
    return [half for half in (entries[:middle], entries[middle:]) if half]
